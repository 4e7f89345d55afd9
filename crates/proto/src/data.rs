//! Columns and layouts on the wire.

use xtfs_core::{
    ColumnId, ColumnIndex, DataNumber, DataVersion, Error, Result, StripeLayout, VolumeId,
};

use crate::v1;

impl TryFrom<v1::ColumnId> for ColumnId {
    type Error = Error;

    fn try_from(wire: v1::ColumnId) -> Result<Self> {
        let index = u16::try_from(wire.index)
            .map_err(|_| Error::Invalid(format!("column index {}", wire.index)))?;
        Ok(ColumnId {
            volume: VolumeId(wire.volume),
            data: DataNumber(wire.data),
            index: ColumnIndex(index),
            version: DataVersion(wire.version),
        })
    }
}

impl From<ColumnId> for v1::ColumnId {
    fn from(id: ColumnId) -> Self {
        v1::ColumnId {
            volume: id.volume.0,
            data: id.data.0,
            index: id.index.0.into(),
            version: id.version.0,
        }
    }
}

impl TryFrom<v1::StripeLayout> for StripeLayout {
    type Error = Error;

    fn try_from(wire: v1::StripeLayout) -> Result<Self> {
        StripeLayout::new(wire.stripe_size.into(), wire.stripe_width.into())
            .map_err(|err| Error::Invalid(err.to_string()))
    }
}

impl From<StripeLayout> for v1::StripeLayout {
    fn from(layout: StripeLayout) -> Self {
        // At most 64 MiB.
        #[expect(clippy::cast_possible_truncation)]
        let stripe_size = layout.stripe_size() as u32;
        v1::StripeLayout { stripe_size, stripe_width: layout.stripe_width().into() }
    }
}
