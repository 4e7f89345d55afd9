//! `mkfs.xtfs`.

fn main() -> std::process::ExitCode {
    xtfs_cli::mkfs::main()
}
