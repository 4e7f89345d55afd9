//! `DIRADDR/VOLUME`, as mkfs.xtfs and rmfs.xtfs take it.

use std::str::FromStr;

use xtfs_rpc::{AddressError, DirAddresses};

#[derive(Clone, Debug)]
pub(crate) struct VolumeAddress {
    pub dirs: DirAddresses,
    pub volume: String,
}

impl FromStr for VolumeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is not DIRADDR/VOLUME, as in meta1/scratch");
        let rest = text.strip_prefix("xtfs://").unwrap_or(text);
        let (dirs, volume) = rest.split_once('/').ok_or_else(expected)?;
        let volume = volume.trim_end_matches('/');
        if volume.is_empty() || volume.contains('/') {
            return Err(expected());
        }
        Ok(VolumeAddress {
            dirs: dirs.parse().map_err(|err: AddressError| err.to_string())?,
            volume: volume.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_address_names_one_volume() {
        let address: VolumeAddress = "meta1,meta2:99/v".parse().unwrap();
        assert_eq!(address.volume, "v");
        assert_eq!(address.dirs.as_slice().len(), 2);
        for bad in ["meta1", "meta1/", "/v", "meta1/v/sub"] {
            assert!(bad.parse::<VolumeAddress>().is_err(), "{bad}");
        }
    }
}
