//! Every mount option there is and what it does: one table for `-o`, fstab, environment and file.

use std::path::PathBuf;
use std::time::Duration;

use rustix::mount::MountFlags;

/// A `timeo=` outside of these is a slip of the pen.
const TIMEO_MIN: Duration = Duration::from_secs(1);
const TIMEO_MAX: Duration = Duration::from_secs(24 * 3600);

/// The sum of all options, whatever they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// For mount(2): `ro`, `nosuid`, `noatime`, `sync`, ….
    pub flags: MountFlags,
    pub timeo: Duration,
    pub direct_io: bool,
    pub allow_other: bool,
    /// Over a directory that has entries.
    pub nonempty: bool,
    /// Change the flags of what is mounted.
    pub remount: bool,
    /// Of the volume, in addition to the one in the spec.
    pub subdir: Option<String>,
    /// Log file. `None`: syslog; standard error in the foreground.
    pub log: Option<PathBuf>,
    /// Where the list of services is kept over mounts. `None`: the usual place.
    pub cache_dir: Option<PathBuf>,
    /// SELinux: `context=` and its kin, for the kernel.
    pub security: Vec<String>,
}

/// What one option does.
#[derive(Clone, Copy)]
enum Effect {
    /// For mount(8) or systemd, or always on.
    Nothing,
    Set(MountFlags),
    Clear(MountFlags),
    Yes(fn(&mut MountOptions)),
    Value(fn(&mut MountOptions, &str) -> Result<(), String>),
}

use Effect::{Clear, Nothing, Set, Value, Yes};

/// Names, sorted by subject. An option not here is unknown.
const TABLE: &[(&str, Effect)] = &[
    // Ours.
    ("timeo", Value(set_timeo)),
    ("direct_io", Yes(|options| options.direct_io = true)),
    ("nodirect_io", Yes(|options| options.direct_io = false)),
    ("allow_other", Yes(|options| options.allow_other = true)),
    ("nonempty", Yes(|options| options.nonempty = true)),
    ("subdir", Value(|options, text| set(&mut options.subdir, text.to_owned()))),
    ("log", Value(|options, text| set(&mut options.log, text.into()))),
    ("cache_dir", Value(|options, text| set(&mut options.cache_dir, text.into()))),
    ("default_permissions", Nothing),
    ("remount", Yes(|options| options.remount = true)),
    // The kernel's.
    ("ro", Set(MountFlags::RDONLY)),
    ("rw", Clear(MountFlags::RDONLY)),
    ("nosuid", Set(MountFlags::NOSUID)),
    ("suid", Clear(MountFlags::NOSUID)),
    ("nodev", Set(MountFlags::NODEV)),
    ("dev", Clear(MountFlags::NODEV)),
    ("noexec", Set(MountFlags::NOEXEC)),
    ("exec", Clear(MountFlags::NOEXEC)),
    ("sync", Set(MountFlags::SYNCHRONOUS)),
    ("async", Clear(MountFlags::SYNCHRONOUS)),
    ("dirsync", Set(MountFlags::DIRSYNC)),
    ("noatime", Set(MountFlags::NOATIME)),
    ("atime", Clear(MountFlags::NOATIME)),
    ("nodiratime", Set(MountFlags::NODIRATIME)),
    ("diratime", Clear(MountFlags::NODIRATIME)),
    ("relatime", Set(MountFlags::RELATIME)),
    ("norelatime", Clear(MountFlags::RELATIME)),
    ("strictatime", Set(MountFlags::STRICTATIME)),
    ("nostrictatime", Clear(MountFlags::STRICTATIME)),
    ("lazytime", Set(MountFlags::LAZYTIME)),
    ("nolazytime", Clear(MountFlags::LAZYTIME)),
    ("silent", Set(MountFlags::SILENT)),
    ("loud", Clear(MountFlags::SILENT)),
    ("mand", Set(MountFlags::PERMIT_MANDATORY_FILE_LOCKING)),
    ("nomand", Clear(MountFlags::PERMIT_MANDATORY_FILE_LOCKING)),
    ("iversion", Nothing),
    ("noiversion", Nothing),
    ("context", Value(|options, text| security(options, "context", text))),
    ("fscontext", Value(|options, text| security(options, "fscontext", text))),
    ("defcontext", Value(|options, text| security(options, "defcontext", text))),
    ("rootcontext", Value(|options, text| security(options, "rootcontext", text))),
    // What the kernel shows of a mount; mount(8) hands it back at a remount.
    ("fsname", Nothing),
    ("subtype", Nothing),
    ("user_id", Nothing),
    ("group_id", Nothing),
    ("rootmode", Nothing),
    ("max_read", Nothing),
    ("blksize", Nothing),
    // For mount(8), systemd and the rest of userspace.
    ("defaults", Nothing),
    ("_netdev", Nothing),
    ("nofail", Nothing),
    ("auto", Nothing),
    ("noauto", Nothing),
    ("user", Nothing),
    ("nouser", Nothing),
    ("users", Nothing),
    ("nousers", Nothing),
    ("owner", Nothing),
    ("noowner", Nothing),
    ("group", Nothing),
    ("nogroup", Nothing),
    ("uhelper", Nothing),
    ("helper", Nothing),
    ("comment", Nothing),
];

impl Default for MountOptions {
    fn default() -> Self {
        MountOptions {
            flags: MountFlags::empty(),
            timeo: Duration::from_secs(30),
            direct_io: false,
            allow_other: false,
            nonempty: false,
            remount: false,
            subdir: None,
            log: None,
            cache_dir: None,
            security: Vec::new(),
        }
    }
}

impl MountOptions {
    pub fn read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }

    /// Applies a list as after `-o`. Later ones win. With `sloppy` unknown ones are passed over.
    pub fn apply_list(&mut self, list: &str, sloppy: bool) -> Result<(), String> {
        split(list)?.iter().try_for_each(|option| self.apply(option, sloppy))
    }

    /// Applies one option, `name` or `name=value`.
    pub(crate) fn apply(&mut self, option: &str, sloppy: bool) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        if name.is_empty() || name.starts_with("x-") || name.starts_with("X-") {
            return Ok(());
        }
        let Some((_, effect)) = TABLE.iter().find(|(known, _)| *known == name) else {
            return if sloppy { Ok(()) } else { Err(unknown(name)) };
        };
        match (effect, value) {
            (Nothing, _) => {}
            (Set(flag), None) => self.flags |= *flag,
            (Clear(flag), None) => self.flags &= !*flag,
            (Yes(set), None) => set(self),
            (Value(set), Some(value)) => set(self, value)?,
            (Value(_), None) => return Err(format!("option {name} needs a value, {name}=…")),
            (Set(_) | Clear(_) | Yes(_), Some(_)) => {
                return Err(format!("option {name} takes no value"));
            }
        }
        Ok(())
    }
}

/// Splits at commas that are not within double quotes, and drops the quotes.
fn split(list: &str) -> Result<Vec<String>, String> {
    let mut options = vec![String::new()];
    let mut quoted = false;
    for c in list.chars() {
        match (c, options.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => options.push(String::new()),
            (c, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    if quoted { Err(format!("a quote is not closed in {list:?}")) } else { Ok(options) }
}

fn set<T>(option: &mut Option<T>, value: T) -> Result<(), String> {
    *option = Some(value);
    Ok(())
}

fn set_timeo(options: &mut MountOptions, text: &str) -> Result<(), String> {
    options.timeo = timeo(text)?;
    Ok(())
}

fn timeo(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    match parsed {
        Some(timeo) if (TIMEO_MIN..=TIMEO_MAX).contains(&timeo) => Ok(timeo),
        Some(_) => Err(format!("timeo={text} is not between 1s and 1day")),
        None => Err(format!("timeo={text} is no duration; write for example 30, 90s or 2min")),
    }
}

fn security(options: &mut MountOptions, name: &str, label: &str) -> Result<(), String> {
    options.security.push(format!("{name}=\"{label}\""));
    Ok(())
}

fn unknown(name: &str) -> String {
    let near = TABLE.iter().map(|(known, _)| (distance(name, known), *known)).min();
    match near {
        Some((distance, known)) if distance <= 1 + name.len() / 4 => {
            format!("unknown option {name:?}, did you mean {known:?}?")
        }
        _ => format!("unknown option {name:?}"),
    }
}

/// Edits from one to the other: insert, delete, replace.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, c) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, known) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *known);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(list: &str) -> Result<MountOptions, String> {
        let mut options = MountOptions::default();
        options.apply_list(list, false).map(|()| options)
    }

    #[test]
    fn what_is_for_others_is_accepted_and_changes_nothing() {
        for list in [
            "",
            "defaults",
            "_netdev,nofail,x-systemd.automount,x-systemd.mount-timeout=30",
            "user,user=alice,users,owner,group,nouser,nousers,noowner,nogroup",
            "uhelper=udisks2,helper=xtfs,comment=mine,auto,noauto",
            "rw,suid,dev,exec,async,atime,diratime,loud,nomand,iversion,noiversion",
            "default_permissions,,",
            "user_id=0,group_id=0,max_read=1048576,fsname=m/v,subtype=xtfs",
        ] {
            assert_eq!(applied(list), Ok(MountOptions::default()), "{list}");
        }
    }

    #[test]
    fn kernel_flags_reach_the_kernel_and_later_ones_win() {
        #[track_caller]
        fn check(list: &str, flags: MountFlags) {
            assert_eq!(applied(list).unwrap().flags, flags, "{list}");
        }
        check("ro", MountFlags::RDONLY);
        check("ro,rw", MountFlags::empty());
        check("nosuid,nodev,noexec", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC);
        check("noatime,nodiratime", MountFlags::NOATIME | MountFlags::NODIRATIME);
        check("relatime,lazytime", MountFlags::RELATIME | MountFlags::LAZYTIME);
        check("strictatime,silent", MountFlags::STRICTATIME | MountFlags::SILENT);
        check("sync,dirsync", MountFlags::SYNCHRONOUS | MountFlags::DIRSYNC);
        check("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING);
    }

    #[test]
    fn a_bare_timeo_is_in_seconds() {
        #[track_caller]
        fn check(list: &str, seconds: u64) {
            assert_eq!(applied(list).unwrap().timeo, Duration::from_secs(seconds), "{list}");
        }
        check("", 30);
        check("timeo=5", 5);
        check("timeo=90s", 90);
        check("timeo=2min", 120);
        check("timeo=1500ms,timeo=3s", 3);
        for bad in ["timeo=0", "timeo=10ms", "timeo=2days", "timeo=soon", "timeo=", "timeo"] {
            assert!(applied(bad).unwrap_err().contains("timeo"), "{bad}");
        }
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        assert!(applied("timo=5").unwrap_err().contains("did you mean \"timeo\""));
        assert!(applied("direct-io").unwrap_err().contains("did you mean \"direct_io\""));
        assert!(!applied("quantumtunnel").unwrap_err().contains("did you mean"));
        let mut options = MountOptions::default();
        assert_eq!(options.apply_list("timo=5,timeo=6", true), Ok(()));
        assert_eq!(options.timeo, Duration::from_secs(6));
    }

    #[test]
    fn a_quoted_comma_does_not_split() {
        let options = applied("context=\"u:r:t:s0:c1,c2\",ro").unwrap();
        assert_eq!(options.security, ["context=\"u:r:t:s0:c1,c2\""]);
        assert!(options.read_only());
        assert!(applied("context=\"a,ro").is_err());
        assert!(applied("ro=1").is_err());
    }
}
