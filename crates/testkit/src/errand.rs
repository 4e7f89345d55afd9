//! What programs do with one folder over several mounts, each as a process of its own: see `xtfs-errand`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command};

use crate::{eventually, program};

/// Runs the errand NAME so many times in the folder.
pub fn start(name: &str, folder: &Path, count: usize) -> Child {
    let mut command = Command::new(program("xtfs-errand"));
    command.args([OsString::from(name), folder.into(), count.to_string().into()]);
    command.spawn().expect("our own program starts")
}

/// Waits for the end of all.
#[track_caller]
pub fn end(errands: Vec<Child>) {
    let ended: Vec<_> = errands.into_iter().map(|mut errand| errand.wait()).collect();
    for ended in ended {
        let ended = ended.expect("it is ours to wait for");
        assert!(ended.success(), "{ended}; see above");
    }
}

/// Delivers mail as a mail server does: whole under a temporary name, synced, linked into place.
pub fn deliver(folder: &Path, count: usize) -> io::Result<()> {
    for number in 0..count {
        let [temporary, new] = ["tmp", "new"].map(|place| folder.join(format!("{place}/{number}")));
        fs::write(&temporary, mail(number))?;
        File::open(&temporary)?.sync_all()?;
        fs::hard_link(&temporary, new)?;
        fs::remove_file(temporary)?;
    }
    Ok(())
}

/// Reads mail until so much has come.
pub fn collect(folder: &Path, count: usize) -> io::Result<()> {
    let mut collected = 0;
    while collected < count {
        let before = collected;
        let mut done = Ok(());
        eventually("more mail comes", || {
            done = collect_new(folder, &mut collected);
            collected > before || done.is_err()
        });
        done?;
    }
    Ok(())
}

fn collect_new(folder: &Path, collected: &mut usize) -> io::Result<()> {
    for entry in fs::read_dir(folder.join("new"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let read = folder.join(format!("cur/{name}:2,S"));
        fs::rename(folder.join("new").join(&name), &read)?;
        let number = name.parse().map_err(io::Error::other)?;
        if fs::read_to_string(&read)? != mail(number) {
            return Err(io::Error::other(format!("mail {number} is not what was sent")));
        }
        *collected += 1;
    }
    Ok(())
}

fn mail(number: usize) -> String {
    format!("mail {number}\n").repeat(1 + number * 37)
}

/// Replaces a file by its next version, as `mv` does.
pub fn replace(folder: &Path, count: usize) -> io::Result<()> {
    for number in 1..=count {
        fs::write(folder.join("f.new"), version(number))?;
        fs::rename(folder.join("f.new"), folder.join("f"))?;
    }
    Ok(())
}

/// Reads the file until its last version is there: always whole, and never an older one again.
pub fn watch(folder: &Path, count: usize) -> io::Result<()> {
    let mut last = 0;
    while last < count {
        let seen = fs::read_to_string(folder.join("f"))?;
        let number = seen.get(..6).and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| io::Error::other("a version has its number"))?;
        if number < last || seen != version(number) {
            return Err(io::Error::other(format!("version {number} after {last}")));
        }
        last = number;
    }
    Ok(())
}

/// What the file holds.
pub fn version(number: usize) -> String {
    format!("{number:06}\n").repeat(1 + number * 997 % 60_000)
}
