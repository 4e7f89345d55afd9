//! Connections to services. Every channel of xtfs is made here, so that TLS and relays have one place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};
use xtfs_core::{Error, Result};
use xtfs_proto::from_status;
use xtfs_proto::v1::dir_client::DirClient;
use xtfs_proto::v1::mrc_client::MrcClient;
use xtfs_proto::v1::osd_client::OsdClient;

use crate::address::Address;

/// HTTP/2 settings of both sides; measured, see `docs/architecture.md` on the data path.
pub(crate) const FRAME_BYTES_MAX: u32 = 4 << 20;
pub(crate) const STREAM_WINDOW_BYTES: u32 = 16 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest message that is decoded.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Channels that are kept. At the bound all are forgotten; those in use live on with their users.
const CHANNELS_MAX: usize = 4096;

pub type DirService = DirClient<Channel>;
pub type MrcService = MrcClient<Channel>;
pub type OsdService = OsdClient<Channel>;

/// Channels by address. Clones share them. They connect on first use, and again after a failure.
#[derive(Clone, Debug, Default)]
pub struct Connector {
    channels: Arc<Mutex<HashMap<Address, Channel>>>,
}

impl Connector {
    pub fn new() -> Self {
        Connector::default()
    }

    /// The shared channel to `address`. Must be called within a tokio runtime.
    pub fn channel(&self, address: &Address) -> Channel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return channel.clone();
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let channel = self.separate_channel(address);
        channels.insert(address.clone(), channel.clone());
        channel
    }

    /// A channel, thus a TCP connection, of the caller's own.
    pub fn separate_channel(&self, address: &Address) -> Channel {
        endpoint(address).connect_lazy()
    }

    /// Connects now, so that the caller learns why it fails.
    pub async fn connect(&self, address: &Address) -> Result<Channel> {
        endpoint(address).connect().await.map_err(|err| {
            Error::Unavailable(format!("connect to {address}: {}", root_cause(&err)))
        })
    }

    pub fn dir(&self, address: &Address) -> DirService {
        DirClient::new(self.channel(address)).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn mrc(&self, address: &Address) -> MrcService {
        MrcClient::new(self.channel(address)).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn osd(&self, address: &Address) -> OsdService {
        OsdClient::new(self.channel(address)).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Waits for a unary call, at most `deadline`, and makes our error of what goes wrong.
pub async fn call<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status_error(&status)),
        Err(_) => Err(Error::Deadline(format!("no answer within {deadline:?}"))),
    }
}

/// Like [`from_status`], but with the cause that the transport hides in the chain of sources.
pub fn status_error(status: &Status) -> Error {
    match (from_status(status), std::error::Error::source(status)) {
        (Error::Unavailable(_), Some(source)) => Error::Unavailable(root_cause(source)),
        (err, _) => err,
    }
}

fn root_cause(err: &dyn std::error::Error) -> String {
    let mut err = err;
    while let Some(source) = err.source() {
        err = source;
    }
    err.to_string()
}

fn endpoint(address: &Address) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("an address holds only what a URI may hold")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}
