//! A signed, expiring ticket from the MRC that an OSD can check alone.
//!
//! It is the encoded [`Capability`] followed by the id of the key and the HMAC-SHA-256 over all
//! before it. Every field is signed. The epoch of the replica set is not in it: that travels in the
//! request, so that a change of the set needs no new capabilities.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{ColumnId, DataNumber, DataVersion, FileEpoch, Floor, SessionId, VolumeId};
use crate::layout::StripeLayout;

/// First byte of the encoding; a change of the fields takes another.
const FORMAT: u8 = 1;
const SIGNED_LEN: usize = 1 + 8 + 8 + 4 + 4 + 2 + 1 + 8 + 8 + 8 + 8 + 4;
const MAC_LEN: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    Read,
    ReadWrite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    pub volume: VolumeId,
    pub data: DataNumber,
    pub version: DataVersion,
    pub layout: StripeLayout,
    pub rights: Rights,
    pub file_epoch: FileEpoch,
    /// In bytes of the file.
    pub floor: Floor,
    pub session: SessionId,
    pub expires: Timestamp,
}

/// A secret shared by DIR, MRCs and OSDs.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub id: u32,
    secret: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    pub fn new(id: u32, secret: Vec<u8>) -> Self {
        Key { id, secret }
    }

    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    fn mac(&self, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(signed);
        mac
    }
}

impl Capability {
    /// The token that travels.
    pub fn sign(&self, key: &Key) -> Vec<u8> {
        let mut token = Vec::with_capacity(SIGNED_LEN + MAC_LEN);
        token.push(FORMAT);
        token.extend(self.volume.0.to_be_bytes());
        token.extend(self.data.0.to_be_bytes());
        token.extend(self.version.0.to_be_bytes());
        // At most 64 MiB.
        #[expect(clippy::cast_possible_truncation)]
        token.extend((self.layout.stripe_size() as u32).to_be_bytes());
        token.extend(self.layout.stripe_width().to_be_bytes());
        token.push(match self.rights {
            Rights::Read => 0,
            Rights::ReadWrite => 1,
        });
        token.extend(self.file_epoch.0.to_be_bytes());
        token.extend(self.floor.0.to_be_bytes());
        token.extend(self.session.0.to_be_bytes());
        token.extend(self.expires.0.to_be_bytes());
        token.extend(key.id.to_be_bytes());
        let mac = key.mac(&token).finalize().into_bytes();
        token.extend(mac);
        token
    }

    /// Decodes a token that one of `keys` has signed. Expiry is the caller's to check: it knows the
    /// time.
    pub fn verify(token: &[u8], keys: &[Key]) -> Result<Capability> {
        let forged = |why: &str| Error::Forbidden(why.to_owned());
        if token.len() != SIGNED_LEN + MAC_LEN || token[0] != FORMAT {
            return Err(forged("not a capability"));
        }
        let (signed, mac) = token.split_at(SIGNED_LEN);
        let mut fields = Fields(&signed[1..]);
        let volume = VolumeId(fields.u64());
        let data = DataNumber(fields.u64());
        let version = DataVersion(fields.u32());
        let stripe_size = u64::from(fields.u32());
        let stripe_width = u64::from(fields.u16());
        let rights = fields.u8();
        let file_epoch = FileEpoch(fields.u64());
        let floor = Floor(fields.u64());
        let session = SessionId(fields.u64());
        let expires = Timestamp(fields.u64().cast_signed());
        let key_id = fields.u32();

        let key = keys.iter().find(|key| key.id == key_id);
        let key = key.ok_or_else(|| forged("signed with a key that is not in use"))?;
        key.mac(signed).verify_slice(mac).map_err(|_| forged("the signature is wrong"))?;

        let layout = StripeLayout::new(stripe_size, stripe_width)
            .map_err(|err| Error::Forbidden(err.to_string()))?;
        let rights = if rights == 0 { Rights::Read } else { Rights::ReadWrite };
        Ok(Capability {
            volume,
            data,
            version,
            layout,
            rights,
            file_epoch,
            floor,
            session,
            expires,
        })
    }

    /// Whether it speaks of the file that `column` belongs to.
    pub fn covers(&self, column: ColumnId) -> bool {
        self.volume == column.volume
            && self.data == column.data
            && self.version == column.version
            && column.index.0 < self.layout.stripe_width()
    }

    /// What the floor is in bytes of `column`. `None`: nothing to cut.
    pub fn column_floor(&self, column: ColumnId) -> Option<u64> {
        (self.floor != Floor::NONE).then(|| self.layout.column_len(self.floor.0, column.index))
    }
}

/// Takes integers off the front of a slice whose length was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk::<N>().expect("the length was checked");
        self.0 = rest;
        *head
    }

    fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.take())
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ColumnIndex;

    fn capability() -> Capability {
        Capability {
            volume: VolumeId(1),
            data: DataNumber(2),
            version: DataVersion(0),
            layout: StripeLayout::new(128 << 10, 4).unwrap(),
            rights: Rights::ReadWrite,
            file_epoch: FileEpoch(3),
            floor: Floor(300 << 10),
            session: SessionId(4),
            expires: Timestamp(5),
        }
    }

    #[test]
    fn a_token_round_trips_under_any_key_in_use() {
        let keys = [Key::new(1, vec![1; 32]), Key::new(2, vec![2; 32])];
        for key in &keys {
            assert_eq!(Capability::verify(&capability().sign(key), &keys), Ok(capability()));
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let key = Key::new(1, vec![1; 32]);
        let token = capability().sign(&key);
        for bit in 0..token.len() * 8 {
            let mut forged = token.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let verified = Capability::verify(&forged, std::slice::from_ref(&key));
            assert!(matches!(verified, Err(Error::Forbidden(_))), "bit {bit}: {verified:?}");
        }
        assert!(Capability::verify(&token[..token.len() - 1], &[key]).is_err());
    }

    #[test]
    fn another_key_is_refused() {
        let token = capability().sign(&Key::new(1, vec![1; 32]));
        for keys in [vec![], vec![Key::new(1, vec![9; 32])], vec![Key::new(2, vec![1; 32])]] {
            assert!(matches!(Capability::verify(&token, &keys), Err(Error::Forbidden(_))));
        }
    }

    #[test]
    fn it_covers_the_columns_of_its_file_only() {
        let column = |data, index| ColumnId {
            volume: VolumeId(1),
            data: DataNumber(data),
            index: ColumnIndex(index),
            version: DataVersion(0),
        };
        assert!(capability().covers(column(2, 3)));
        assert!(!capability().covers(column(2, 4)));
        assert!(!capability().covers(column(3, 0)));
        assert_eq!(capability().column_floor(column(2, 2)), Some(44 << 10));
        let unfloored = Capability { floor: Floor::NONE, ..capability() };
        assert_eq!(unfloored.column_floor(column(2, 2)), None);
    }
}
