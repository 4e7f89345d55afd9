//! `rmfs.xtfs`.

fn main() -> std::process::ExitCode {
    xtfs_cli::rmfs::main()
}
