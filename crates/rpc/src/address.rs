//! Where a service is reached: a host and a port.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub const DIR_PORT: u16 = 32600;
pub const MRC_PORT: u16 = 32601;
/// An OSD takes the first free port from here.
pub const OSD_PORT_FIRST: u16 = 32602;

/// A host name or IP address with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address {
    host: String,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {why}; write HOST, HOST:PORT or [IPV6]:PORT")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

/// Addresses of the DIR's members, as the option `--dir` takes them: at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DirAddresses(Vec<Address>);

impl Address {
    /// Reads `HOST[:PORT]`, `[IPV6][:PORT]` or a bare IPv6 address.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let bad = |why| AddressError { text: text.to_owned(), why };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(|| bad("a ] is missing"))?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or_else(|| bad("no : after the ]"))?),
                };
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad("no IPv6 address in [ ]"))?;
                (host, port)
            }
            None if text.parse::<std::net::Ipv6Addr>().is_ok() => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err(bad("the host is empty"));
        }
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "-._:".contains(c));
        if host.contains(odd) {
            return Err(bad("the host has a character that no host name has"));
        }
        let port = match port {
            None => default_port,
            Some(digits) => match digits.parse() {
                Ok(0) | Err(_) => return Err(bad("the port is not a number from 1 to 65535")),
                Ok(port) => port,
            },
        };
        Ok(Address { host: host.to_owned(), port })
    }

    /// Reads addresses with commas between them.
    pub fn parse_list(text: &str, default_port: u16) -> Result<Vec<Self>, AddressError> {
        text.split(',').map(|one| Address::parse(one.trim(), default_port)).collect()
    }

    pub fn new(host: &str, port: u16) -> Self {
        Address { host: host.to_owned(), port }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only processes on the same host can reach it.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<std::net::IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl DirAddresses {
    pub fn new(first: Address) -> Self {
        DirAddresses(vec![first])
    }

    pub fn as_slice(&self) -> &[Address] {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// With a port.
impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match Address::parse(text, 0)? {
            Address { port: 0, .. } => {
                Err(AddressError { text: text.to_owned(), why: "the port is missing" })
            }
            address => Ok(address),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(at: SocketAddr) -> Self {
        Address { host: at.ip().to_canonical().to_string(), port: at.port() }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl FromStr for DirAddresses {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Address::parse_list(text, DIR_PORT).map(DirAddresses)
    }
}

impl fmt::Display for DirAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl From<DirAddresses> for String {
    fn from(addresses: DirAddresses) -> String {
        addresses.to_string()
    }
}

impl TryFrom<String> for DirAddresses {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(Address::parse(text, 32600).unwrap().to_string(), expected);
        }
        check("meta1", "meta1:32600");
        check("meta1:7", "meta1:7");
        check("10.0.0.1", "10.0.0.1:32600");
        check("::1", "[::1]:32600");
        check("[::1]", "[::1]:32600");
        check("[fe80::2]:99", "[fe80::2]:99");
    }

    #[test]
    fn what_is_wrong_is_said() {
        #[track_caller]
        fn check(text: &str, why: &str) {
            let err = Address::parse(text, 1).unwrap_err().to_string();
            assert!(err.contains(why), "{err}");
        }
        check("", "the host is empty");
        check(":80", "the host is empty");
        check("a:", "the port is not a number");
        check("a:0", "the port is not a number");
        check("a:65536", "the port is not a number");
        check("a:b:c", "the port is not a number");
        check("[::1", "a ] is missing");
        check("[::1]80", "no : after the ]");
        check("[meta1]:80", "no IPv6 address");
        check("a b", "a character that no host name has");
        check("a/b", "a character that no host name has");
        assert!("a".parse::<Address>().unwrap_err().to_string().contains("the port is missing"));
        assert!("a,,b".parse::<DirAddresses>().is_err());
    }

    #[test]
    fn lists_and_loopback() {
        let list: DirAddresses = "a, b:2,[::1]".parse().unwrap();
        assert_eq!(list.to_string(), "a:32600,b:2,[::1]:32600");
        let loopback = list.as_slice().iter().map(Address::is_loopback).collect::<Vec<_>>();
        assert_eq!(loopback, [false, false, true]);
        assert!(Address::from("[::ffff:127.0.0.1]:5".parse::<SocketAddr>().unwrap()).is_loopback());
    }
}
