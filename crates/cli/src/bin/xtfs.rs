//! `xtfs`.

fn main() -> std::process::ExitCode {
    xtfs_cli::xtfs::main()
}
