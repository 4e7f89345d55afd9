//! The program `xtfs-osd`.

use std::process::ExitCode;

use xtfs_osd::{Options, PROGRAM};
use xtfs_rpc::daemon::{parse, run, start_logging};
use xtfs_rpc::{OSD_PORT_FIRST, Ports};

fn main() -> ExitCode {
    let options: Options = match parse(PROGRAM) {
        Ok(options) => options,
        Err(code) => return code,
    };
    run(PROGRAM, async move |stop| {
        start_logging(&options.log)?;
        let (config, listen) = options.configure()?;
        // Before a port is taken or the DIR is asked.
        config.validate()?;
        config.dir()?;
        let listener = listen.bind(Ports::FirstFreeFrom(OSD_PORT_FIRST)).await?;
        xtfs_osd::serve(config, listener, stop).await
    })
}
