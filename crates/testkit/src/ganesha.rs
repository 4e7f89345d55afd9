//! nfs-ganesha, which exports a mounted volume by NFS 4 from user space.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::daemon::free_address;
use crate::eventually;
use crate::nfs::{NfsClient, NfsHandle};
use crate::programs::last_lines;

/// Dropping it ends the server.
#[derive(Debug)]
pub struct Ganesha {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Ganesha {
    /// Exports `path` as /xtfs.
    pub fn start(path: &Path) -> Ganesha {
        let folder = TempDir::with_prefix("xtfs-ganesha-").expect("a temporary folder");
        let mut ganesha = Ganesha { folder, address: free_address(), child: None };
        ganesha.restart(path);
        ganesha
    }

    /// Starts it again on the same port, and returns when it serves.
    pub fn restart(&mut self, path: &Path) {
        assert!(self.child.is_none(), "it runs already");
        let at = |name: &str| self.folder.path().join(name);
        fs::write(at("conf"), self.settings(path)).expect("write");
        let mut command = Command::new("ganesha.nfsd");
        command
            .arg("-F")
            .arg("-f")
            .arg(at("conf"))
            .arg("-p")
            .arg(at("pid"))
            .arg("-L")
            .arg(at("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("nfs-ganesha is installed"));
        eventually("ganesha serves", || {
            let asked = self.connect().and_then(|mut client| client.look_up("xtfs"));
            matches!(asked, Ok(Ok(_)))
        });
    }

    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is ours to kill");
        child.wait().expect("it is ours to wait for");
    }

    pub fn connect(&self) -> std::io::Result<NfsClient> {
        NfsClient::connect(self.address)
    }

    /// The export's root.
    #[track_caller]
    pub fn root(&self) -> NfsHandle {
        self.connect().expect("it listens").look_up("xtfs").expect("it answers").expect("the root")
    }

    /// Of a file below the export, for the programs of libnfs.
    pub fn url(&self, name: &str) -> String {
        let (host, port) = (self.address.ip(), self.address.port());
        format!("nfs://{host}/xtfs/{name}?version=4&nfsport={port}")
    }

    /// Version 4 only: the others want a port mapper. No grace period and no caching, as other mounts change files, too.
    fn settings(&self, path: &Path) -> String {
        let (path, recovery) = (path.display(), self.folder.path().display());
        let (host, port) = (self.address.ip(), self.address.port());
        format!(
            "NFS_CORE_PARAM {{ Protocols = 4; Bind_addr = {host}; NFS_Port = {port}; Enable_UDP = false;
                Enable_NLM = false; Enable_RQUOTA = false; }}
            NFSv4 {{ RecoveryRoot = \"{recovery}\"; Graceless = true; }}
            EXPORT {{ Export_Id = 1; Path = {path}; Pseudo = /xtfs; Access_Type = RW; Squash = No_Root_Squash;
                SecType = sys; Protocols = 4; Transports = TCP; Attr_Expiration_Time = 0; FSAL {{ Name = VFS; }} }}
            LOG {{ Default_Log_Level = EVENT; }}\n"
        )
    }
}

impl Drop for Ganesha {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill9();
        }
        if std::thread::panicking() {
            eprintln!("-- ganesha: {}", last_lines(&self.folder.path().join("log")));
        }
    }
}
