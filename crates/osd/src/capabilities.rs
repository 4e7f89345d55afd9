//! Which capabilities are genuine: a bounded cache before the HMAC.

use bytes::Bytes;
use quick_cache::sync::Cache;
use tokio::sync::watch;
use xtfs_core::Result;
use xtfs_core::capability::{Capability, Key};

/// Tokens remembered. One is used for every request of a file that is open, so this is about open
/// files; at the bound the least used is verified anew.
const CAPABILITIES_MAX: usize = 16 << 10;

#[derive(Clone, Copy, Debug)]
struct Verified {
    capability: Capability,
    /// The key that signed it: once that is out of use, so is the token.
    key: u32,
}

#[derive(Debug)]
pub(crate) struct Capabilities {
    keys: watch::Receiver<Vec<Key>>,
    verified: Cache<Bytes, Verified>,
}

impl Capabilities {
    pub(crate) fn new(keys: watch::Receiver<Vec<Key>>) -> Self {
        Capabilities { keys, verified: Cache::new(CAPABILITIES_MAX) }
    }

    /// Decodes a genuine token. Its expiry is the caller's to check.
    pub(crate) fn verify(&self, token: &Bytes) -> Result<Capability> {
        let keys = self.keys.borrow();
        if let Some(known) = self.verified.get(token)
            && keys.iter().any(|key| key.id == known.key)
        {
            return Ok(known.capability);
        }
        let capability = Capability::verify(token, &keys)?;
        let signed_it = |key: &&Key| Capability::verify(token, std::slice::from_ref(*key)).is_ok();
        if let Some(key) = keys.iter().find(signed_it) {
            // A copy: the token that came is a slice of a whole message, which it would keep.
            let token = Bytes::copy_from_slice(token);
            self.verified.insert(token, Verified { capability, key: key.id });
        }
        Ok(capability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtfs_core::capability::Rights;
    use xtfs_core::{
        DataNumber, DataVersion, Error, FileEpoch, Floor, SessionId, StripeLayout, Timestamp,
        VolumeId,
    };

    fn capability() -> Capability {
        Capability {
            volume: VolumeId(1),
            data: DataNumber(2),
            version: DataVersion(0),
            layout: StripeLayout::new(128 << 10, 4).unwrap(),
            rights: Rights::ReadWrite,
            file_epoch: FileEpoch(3),
            floor: Floor::NONE,
            session: SessionId(4),
            expires: Timestamp(5),
        }
    }

    #[test]
    fn a_key_out_of_use_takes_its_remembered_tokens_along() {
        let old = Key::new(1, vec![1; 32]);
        let new = Key::new(2, vec![2; 32]);
        let (keys, receiver) = watch::channel(vec![old.clone(), new.clone()]);
        let capabilities = Capabilities::new(receiver);
        let by_old = Bytes::from(capability().sign(&old));
        let by_new = Bytes::from(capability().sign(&new));
        for _again in 0..2 {
            assert_eq!(capabilities.verify(&by_old), Ok(capability()));
            assert_eq!(capabilities.verify(&by_new), Ok(capability()));
        }
        keys.send(vec![new]).unwrap();
        assert!(matches!(capabilities.verify(&by_old), Err(Error::Forbidden(_))));
        assert_eq!(capabilities.verify(&by_new), Ok(capability()));
    }

    #[test]
    fn a_forged_token_is_not_remembered() {
        let key = Key::new(1, vec![1; 32]);
        let (_keys, receiver) = watch::channel(vec![key.clone()]);
        let capabilities = Capabilities::new(receiver);
        let mut token = capability().sign(&key);
        token[9] ^= 1;
        for _again in 0..2 {
            let refused = capabilities.verify(&Bytes::from(token.clone()));
            assert!(matches!(refused, Err(Error::Forbidden(_))));
        }
    }
}
