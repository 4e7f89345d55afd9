//! Numbers that nobody had before (P5).

use xtfs_core::{Error, Ino, Result, VolumeId};

use super::Mrc;
use crate::state::command::Reserve;
use crate::state::numbers::RESERVE_COUNT;
use crate::state::{Action, Answer};

impl Mrc {
    /// A number that nobody had before (P5).
    pub(crate) async fn number(&self) -> Result<u64> {
        loop {
            let (taken, low) = {
                let mut numbers = self.numbers.lock();
                (numbers.take(), numbers.is_low())
            };
            match taken {
                Some(number) if !low => return Ok(number),
                // One request in many pays for the next range, before anybody has to wait.
                Some(number) => {
                    if let Ok(_reserving) = self.reserving.try_lock() {
                        self.reserve().await?;
                    }
                    return Ok(number);
                }
                None => {
                    let _reserving = self.reserving.lock().await;
                    if self.numbers.lock().is_low() {
                        self.reserve().await?;
                    }
                }
            }
        }
    }

    pub(crate) async fn ino(&self) -> Result<Ino> {
        self.number().await.map(Ino)
    }

    async fn reserve(&self) -> Result<()> {
        let reserve = Reserve { count: RESERVE_COUNT, restart: false };
        match self.command(VolumeId(0), Action::Reserve(reserve)).await? {
            Answer::Reserved(range) => {
                self.numbers.lock().add(range);
                Ok(())
            }
            other => Err(Error::Internal(format!("a reservation answered {other:?}"))),
        }
    }
}
