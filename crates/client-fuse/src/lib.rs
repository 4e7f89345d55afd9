//! mount.xtfs and umount.xtfs: the client library as a FUSE filesystem, with the manners of mount(8).

mod adapter;
mod caller;
mod daemon;
mod device;
mod failure;
mod mount;
mod mount_option;
mod mountpoint;
mod mounts;
mod options;
mod signals;
mod umount;

pub use daemon::main as mount_main;
pub use failure::{ExitKind, Failure};
pub use mount_option::MountOptions;
pub use mounts::FILE_SYSTEM_TYPE;
pub use options::{CONFIG_PATH, Invocation, MountConfig, MountRequest, cli, parse, read_config};
pub use umount::{cli as umount_cli, main as umount_main};
