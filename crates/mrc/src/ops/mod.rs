//! One function for each request of `proto/mrc.proto`.

mod append;
mod attributes;
mod entries;
mod lock;
mod open;
mod session;
mod tools;
mod volume;
mod xattr;

pub(crate) use append::{begin_append, end_append};
pub(crate) use attributes::{access, get_attr, lookup, set_attr};
pub(crate) use entries::{link, mkdir, mknod, read_dir, readlink, rename, rmdir, symlink, unlink};
pub(crate) use lock::{lock, test_lock, wait_lock};
pub(crate) use open::{close, create, open, renew, sync, touch};
pub(crate) use session::{close_session, open_session, session};
pub(crate) use tools::{path_of, scan, set_default_layout, statfs, status, where_is};
pub(crate) use volume::{create_volume, delete_volume, list_volumes, set_volume};
pub(crate) use xattr::{get_xattr, list_xattr, remove_xattr, set_xattr};
