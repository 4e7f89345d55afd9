//! `lsfs.xtfs`.

fn main() -> std::process::ExitCode {
    xtfs_cli::lsfs::main()
}
