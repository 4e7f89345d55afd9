//! Takes a port, or says in one line why not.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::address::Address;
use crate::failure::Failure;

/// Ports that are tried from [`Ports::FirstFreeFrom`] on.
const PORTS_TRIED_MAX: u16 = 1000;

/// The port, where no address says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    Fixed(u16),
    FirstFreeFrom(u16),
}

/// Where to listen. Port 0 asks the kernel for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `None`: on every address of the host.
    host: Option<String>,
    /// `None`: the default of the program.
    port: Option<u16>,
}

impl Listen {
    /// Every address, default port.
    pub const ANY: Listen = Listen { host: None, port: None };

    /// A port of the kernel's choice on 127.0.0.1, for tests.
    pub fn loopback() -> Self {
        Listen { host: Some("127.0.0.1".into()), port: Some(0) }
    }

    pub async fn bind(&self, default: Ports) -> Result<TcpListener, Failure> {
        let (first, count) = match (self.port, default) {
            (Some(port), _) | (None, Ports::Fixed(port)) => (port, 1),
            (None, Ports::FirstFreeFrom(port)) => (port, PORTS_TRIED_MAX),
        };
        let mut taken = None;
        for port in first..first.saturating_add(count) {
            match self.bind_port(port).await {
                Ok(listener) => return Ok(listener),
                Err(err) if err.kind() == ErrorKind::AddrInUse => taken = Some(err),
                Err(err) => return Err(self.refused(port, &err)),
            }
        }
        let err = taken.unwrap_or_else(|| ErrorKind::AddrInUse.into());
        Err(self.refused(first, &err))
    }

    async fn bind_port(&self, port: u16) -> std::io::Result<TcpListener> {
        match &self.host {
            Some(host) => TcpListener::bind((host.as_str(), port)).await,
            None => {
                let at = |ip: IpAddr| SocketAddr::new(ip, port);
                match TcpListener::bind(at(Ipv6Addr::UNSPECIFIED.into())).await {
                    Ok(listener) => Ok(listener),
                    Err(err) if err.kind() == ErrorKind::AddrInUse => Err(err),
                    // A host without IPv6.
                    Err(_) => TcpListener::bind(at(Ipv4Addr::UNSPECIFIED.into())).await,
                }
            }
        }
    }

    fn refused(&self, port: u16, err: &std::io::Error) -> Failure {
        let host = self.host.as_deref().unwrap_or("*");
        let next = match err.kind() {
            ErrorKind::AddrInUse => "stop what listens there, or choose another --listen HOST:PORT",
            ErrorKind::PermissionDenied => "choose a port from 1024, or run as root",
            _ => "check --listen: the host must be one of this machine's addresses",
        };
        let cause = match err.kind() {
            ErrorKind::AddrInUse => "the port is in use".to_owned(),
            _ => err.to_string(),
        };
        Failure::new(format!("cannot listen on {host}:{port}: {cause}"), next)
    }
}

/// `HOST:PORT`, `HOST`, or `:PORT` for every address of the host.
impl std::str::FromStr for Listen {
    type Err = crate::address::AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(host) = text.strip_suffix(":0") {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = (!host.is_empty()).then(|| host.to_owned());
            return Ok(Listen { host, port: Some(0) });
        }
        if text.starts_with(':') && !text.starts_with("::") {
            let address = Address::parse(&format!("any{text}"), 0)?;
            return Ok(Listen { host: None, port: Some(address.port()) });
        }
        let address = Address::parse(text, 0)?;
        let port = (address.port() != 0).then_some(address.port());
        Ok(Listen { host: Some(address.host().to_owned()), port })
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.host, self.port) {
            (Some(host), Some(port)) => Address::new(host, port).fmt(f),
            (Some(host), None) => f.write_str(host),
            (None, Some(port)) => write!(f, ":{port}"),
            (None, None) => f.write_str("every address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_one_clear_line() {
        let first = Listen::loopback().bind(Ports::Fixed(1)).await.unwrap();
        let at = first.local_addr().unwrap();
        let listen: Listen = at.to_string().parse().unwrap();
        let err = listen.bind(Ports::Fixed(1)).await.unwrap_err().to_string();
        assert!(err.contains("the port is in use; stop what listens there"), "{err}");
        assert!(!err.contains('\n'));
        let next = Listen { port: None, ..listen };
        let second = next.bind(Ports::FirstFreeFrom(at.port())).await.unwrap();
        assert!(second.local_addr().unwrap().port() > at.port());
    }

    #[test]
    fn listen_addresses_are_read() {
        let read = |text: &str| text.parse::<Listen>().map(|listen| (listen.host, listen.port));
        assert_eq!(read("0.0.0.0:5").unwrap(), (Some("0.0.0.0".into()), Some(5)));
        assert_eq!(read("[::]:0").unwrap(), (Some("::".into()), Some(0)));
        assert_eq!(read("meta1").unwrap(), (Some("meta1".into()), None));
        assert_eq!(read(":7").unwrap(), (None, Some(7)));
        assert_eq!(read("::1").unwrap(), (Some("::1".into()), None));
        assert!(read(":x").is_err());
    }
}
