//! Reads of files that were opened without the MRC: it is told of them some time later, many at once, for their atimes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use xtfs_proto::v1;

use crate::method;
use crate::mount::Mount;
use crate::mrc::ITSELF;

const PAUSE: Duration = Duration::from_secs(1);
/// Files in one request.
const FILES_MAX: usize = 512;

impl Mount {
    /// Runs as long as the mount.
    pub(crate) async fn keep_telling_reads(self: Arc<Self>) {
        loop {
            sleep(PAUSE).await;
            self.tell_reads().await;
        }
    }

    /// An atime that does not arrive is not worth a second try.
    pub(crate) async fn tell_reads(&self) {
        let touched: Vec<_> = self
            .cache
            .with(|table| table.take_touched())
            .into_iter()
            .map(|(ino, at)| v1::Touched { ino: ino.0, at_ns: at.0 })
            .collect();
        for some in touched.chunks(FILES_MAX) {
            let volume = self.mrc.volume.0;
            let request = v1::TouchRequest { header: None, volume, touched: some.to_vec() };
            if let Err(err) = self.mrc.ask::<method::Touch>(&ITSELF, request).await {
                tracing::debug!(%err, "tell the MRC what was read");
            }
        }
    }
}
