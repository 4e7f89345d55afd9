//! `xtfsutil`.

fn main() -> std::process::ExitCode {
    xtfs_cli::xtfsutil::main()
}
