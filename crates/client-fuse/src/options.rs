//! The command line of mount.xtfs as mount(8), fstab and people write it, over environment and file.
//!
//! `-f` means two things. mount(8) puts options after the positionals and means *fake*; people who know other FUSE
//! filesystems write it first and mean *foreground*. So its place decides.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use xtfs_client::MountSpec;

use crate::failure::Failure;
use crate::mount_option::MountOptions;

/// Where the defaults of this host stand.
pub const CONFIG_PATH: &str = "/etc/xtfs/mount.toml";

/// Names of `XTFS_MOUNT_*` that are an option with a value, and those that are on or off.
const ENV_VALUES: [&str; 4] = ["timeo", "log", "subdir", "cache_dir"];
const ENV_SWITCHES: [&str; 3] = ["direct_io", "allow_other", "nonempty"];

xtfs_rpc::config! {
    /// Settings of `mount.xtfs` on this host. Options on the command line and XTFS_MOUNT_* in the environment win.
    pub struct MountConfig {
        /// Addresses of the DIR, for a spec that is only a volume.
        pub dir: Vec<String> = Vec::new(),
        /// Options for every mount, as after -o: "timeo=60,noatime".
        pub options: String = String::new(),
    }
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    Help,
    Version,
    Mount(Box<MountRequest>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRequest {
    pub spec: MountSpec,
    /// The spec as it was written: so it stands in the list of mounts, where mount -a looks for the line of fstab.
    pub source: String,
    pub mountpoint: PathBuf,
    pub options: MountOptions,
    pub foreground: bool,
    /// All but the mount.
    pub fake: bool,
    pub verbose: bool,
    /// Standard output is the pipe to the process that waits until the mount answers.
    pub status_on_stdout: bool,
}

/// What stood on the command line, not yet understood.
#[derive(Debug, Default)]
struct Words {
    positionals: Vec<OsString>,
    options: Vec<String>,
    foreground: bool,
    fake: bool,
    verbose: bool,
    sloppy: bool,
    status_on_stdout: bool,
    help: bool,
    version: bool,
}

/// Understands the arguments after the program's name.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
    config: &MountConfig,
) -> Result<Invocation, Failure> {
    let words = Words::read(args)?;
    if words.help {
        return Ok(Invocation::Help);
    }
    if words.version {
        return Ok(Invocation::Version);
    }
    let mut options = MountOptions::default();
    layers(&mut options, &words, environment, config).map_err(Failure::usage)?;
    let [spec, mountpoint] = words.positionals.as_slice() else {
        return Err(Failure::usage(match words.positionals.len() {
            0 | 1 => "a spec DIR[,DIR…]/VOLUME[/SUBDIR] and a mountpoint are needed".to_owned(),
            _ => format!("{:?} is one argument too many", words.positionals[2]),
        }));
    };
    let dirs = environment("XTFS_DIR").filter(|dirs| !dirs.is_empty());
    let dirs = dirs.unwrap_or_else(|| config.dir.join(","));
    let Some(source) = spec.to_str().map(str::to_owned) else {
        return Err(Failure::usage(format!("{spec:?} is not UTF-8")));
    };
    let spec = whole_spec(&source, &dirs, options.subdir.as_deref())?;
    Ok(Invocation::Mount(Box::new(MountRequest {
        spec,
        source,
        mountpoint: PathBuf::from(mountpoint),
        options,
        foreground: words.foreground,
        fake: words.fake,
        verbose: words.verbose,
        status_on_stdout: words.status_on_stdout,
    })))
}

/// Defaults, then the file, then the environment, then the command line.
fn layers(
    options: &mut MountOptions,
    words: &Words,
    environment: &dyn Fn(&str) -> Option<String>,
    config: &MountConfig,
) -> Result<(), String> {
    options.apply_list(&config.options, false).map_err(|why| format!("{CONFIG_PATH}: {why}"))?;
    let variable = |name: &str| format!("XTFS_MOUNT_{}", name.to_uppercase());
    for name in ENV_VALUES {
        let variable = variable(name);
        if let Some(value) = environment(&variable) {
            let applied = options.apply(&format!("{name}={value}"), false);
            applied.map_err(|why| format!("{variable}: {why}"))?;
        }
    }
    for name in ENV_SWITCHES {
        let variable = variable(name);
        match environment(&variable).as_deref() {
            None | Some("") => {}
            Some("1" | "true" | "yes" | "on") => options.apply(name, false)?,
            Some("0" | "false" | "no" | "off") => match name {
                "direct_io" => options.direct_io = false,
                "allow_other" => options.allow_other = false,
                _ => options.nonempty = false,
            },
            Some(other) => return Err(format!("{variable} is true or false, not {other:?}")),
        }
    }
    if let Some(list) = environment("XTFS_MOUNT_OPTIONS") {
        options.apply_list(&list, false).map_err(|why| format!("XTFS_MOUNT_OPTIONS: {why}"))?;
    }
    words.options.iter().try_for_each(|list| options.apply_list(list, words.sloppy))
}

fn whole_spec(source: &str, dirs: &str, subdir: Option<&str>) -> Result<MountSpec, Failure> {
    let mut text = source.to_owned();
    if !text.contains('/') {
        if dirs.is_empty() {
            let cause = format!("{text:?} names no DIR");
            let hint = format!("write HOST[:PORT]/{text}, or set dir in {CONFIG_PATH}");
            return Err(Failure { cause, hint, ..Failure::usage("") });
        }
        text = format!("{dirs}/{text}");
    }
    if let Some(subdir) = subdir {
        text = format!("{text}/{subdir}");
    }
    text.parse().map_err(|why: xtfs_client::SpecError| Failure::usage(why.to_string()))
}

impl Words {
    fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut words = Words::default();
        let mut args = args.into_iter();
        let mut only_positionals = false;
        while let Some(arg) = args.next() {
            let text = arg.to_str().unwrap_or_default();
            if only_positionals || !text.starts_with('-') || text == "-" {
                words.positionals.push(arg);
            } else if text == "--" {
                only_positionals = true;
            } else if let Some(long) = text.strip_prefix("--") {
                words.long(long, &mut args)?;
            } else {
                let text = text.to_owned();
                words.short(&text[1..], &mut args)?;
            }
        }
        Ok(words)
    }

    fn long(
        &mut self,
        text: &str,
        args: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Failure> {
        match text.split_once('=') {
            Some(("options", list)) => self.options.push(list.to_owned()),
            Some((name, _)) if name != "options" => {
                return Err(Failure::usage(format!("--{name} is unknown or takes no value")));
            }
            _ => match text {
                "options" => self.options.push(value("--options", None, args)?),
                "foreground" => self.foreground = true,
                "fake" => self.fake = true,
                "verbose" => self.verbose = true,
                "sloppy" => self.sloppy = true,
                "help" => self.help = true,
                "version" => self.version = true,
                "status-on-stdout" => self.status_on_stdout = true,
                _ => return Err(Failure::usage(format!("unknown option --{text}"))),
            },
        }
        Ok(())
    }

    /// A cluster like `-sfnv` or `-otimeo=5`.
    fn short(
        &mut self,
        text: &str,
        args: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Failure> {
        for (at, c) in text.char_indices() {
            let rest = Some(&text[at + c.len_utf8()..]).filter(|rest| !rest.is_empty());
            match c {
                'f' if self.positionals.len() >= 2 => self.fake = true,
                'f' => self.foreground = true,
                's' => self.sloppy = true,
                'v' => self.verbose = true,
                // There is no mtab any more.
                'n' => {}
                'h' => self.help = true,
                'V' => self.version = true,
                'o' => {
                    self.options.push(value("-o", rest, args)?);
                    return Ok(());
                }
                't' => return known_type(&value("-t", rest, args)?),
                'N' => {
                    value("-N", rest, args)?;
                    return Err(Failure {
                        hint: "run it there: nsenter --mount=NAMESPACE mount.xtfs …".into(),
                        ..Failure::usage("-N is not supported")
                    });
                }
                _ => return Err(Failure::usage(format!("unknown option -{c}"))),
            }
        }
        Ok(())
    }
}

fn known_type(name: &str) -> Result<(), Failure> {
    match name {
        "xtfs" | "fuse.xtfs" => Ok(()),
        _ => Err(Failure::usage(format!("this mounts xtfs, not {name}"))),
    }
}

fn value(
    option: &str,
    rest: Option<&str>,
    args: &mut impl Iterator<Item = OsString>,
) -> Result<String, Failure> {
    let value = match rest {
        Some(rest) => Some(rest.to_owned()),
        None => args.next().and_then(|value| value.into_string().ok()),
    };
    value.ok_or_else(|| Failure::usage(format!("{option} needs a value")))
}

/// Reads the file with this host's defaults; none is no defaults.
pub fn read_config(path: &Path) -> Result<MountConfig, Failure> {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::system(format!("{shown}: {error}"), "make it readable")),
    };
    toml::from_str(&text).map_err(|why| Failure::usage(format!("{shown}: {}", why.message())))
}

const AFTER_HELP: &str = "\
Options of -o:
  timeo=TIME      an operation that gets no answer fails after this long (30s; a bare number is seconds)
  direct_io       no page cache: best for requests of 64 KiB and more
  allow_other     other users may use the mount (always, if root mounts; else needs user_allow_other in /etc/fuse.conf)
  subdir=PATH     mount this directory of the volume; the same as in the spec
  nonempty        mount over a directory that has entries
  log=FILE        log there, not to syslog
  cache_dir=DIR   keep the list of services there
  remount         change ro, noatime, … of what is mounted
  ro noatime nosuid nodev noexec sync …   as mount(8) says

Examples:
  mount.xtfs meta1/scratch /mnt/scratch
  mount.xtfs meta1,meta2:32600/scratch/alice /mnt/alice -o timeo=60,noatime
  mount -t xtfs meta1/scratch /mnt/scratch
  mount.xtfs -f meta1/scratch /mnt/scratch          in the foreground, Ctrl-C unmounts

In /etc/fstab:
  meta1/scratch  /mnt/scratch  xtfs  _netdev,nofail,x-systemd.automount  0 0

Each option is also XTFS_MOUNT_<OPTION> in the environment, several at once XTFS_MOUNT_OPTIONS; defaults of the host
stand in /etc/xtfs/mount.toml. The command line wins over the environment, that over the file.

Exit codes: 0 mounted and answering, 1 wrong call, 2 system error, 8 interrupted, 32 not mounted.";

/// What --help, the man page and the completions show. [`parse`] reads the arguments itself, because the place of -f
/// counts.
pub fn cli() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("mount.xtfs")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Mounts an xtfs volume")
        .override_usage("mount.xtfs [-f] DIR[:PORT][,DIR…]/VOLUME[/SUBDIR] MOUNTPOINT [-o OPTIONS]")
        .arg(Arg::new("spec").required(true).value_name("SPEC").help("What to mount: DIR[:PORT][,DIR…]/VOLUME[/SUBDIR], or VOLUME if /etc/xtfs/mount.toml or XTFS_DIR names the DIR"))
        .arg(Arg::new("mountpoint").required(true).value_name("MOUNTPOINT").value_hint(clap::ValueHint::DirPath).help("An empty directory"))
        .arg(Arg::new("options").short('o').long("options").value_name("OPTIONS").action(ArgAction::Append).help("Comma-separated mount options, see below"))
        .arg(flag("foreground").help("Stay in the foreground and log to standard error; also -f before SPEC"))
        .arg(flag("fake").short('f').help("After MOUNTPOINT, as mount(8) calls it: check everything but do not mount"))
        .arg(flag("sloppy").short('s').help("Pass over unknown mount options"))
        .arg(flag("verbose").short('v').help("Log more"))
        .arg(Arg::new("nomtab").short('n').action(ArgAction::SetTrue).help("Ignored, for mount(8)"))
        .arg(Arg::new("type").short('t').value_name("TYPE").help("xtfs or fuse.xtfs, for mount(8)"))
        .after_help(AFTER_HELP)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parsed(line: &str) -> Result<MountRequest, Failure> {
        parsed_in(line, &[], &MountConfig::default())
    }

    fn parsed_in(
        line: &str,
        environment: &[(&str, &str)],
        config: &MountConfig,
    ) -> Result<MountRequest, Failure> {
        let get = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        };
        match parse(line.split_whitespace().map(OsString::from), &get, config)? {
            Invocation::Mount(request) => Ok(*request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_stand_before_or_after_the_positionals() {
        for line in [
            "m/v /mnt -o ro,timeo=5",
            "-o ro,timeo=5 m/v /mnt",
            "m/v -o ro -o timeo=5 /mnt",
            "m/v /mnt -oro,timeo=5",
            "--options=ro m/v --options timeo=5 -- /mnt",
            "m/v /mnt -n -s -t xtfs -o rw,ro,timeo=5,bogus=1",
        ] {
            let request = parsed(line).unwrap();
            assert_eq!(request.spec, "m/v".parse().unwrap(), "{line}");
            assert_eq!(request.mountpoint, Path::new("/mnt"), "{line}");
            assert!(request.options.read_only(), "{line}");
            assert_eq!(request.options.timeo, Duration::from_secs(5), "{line}");
        }
    }

    #[test]
    fn the_place_of_f_decides_what_it_means() {
        #[track_caller]
        fn check(line: &str, foreground: bool, fake: bool) {
            let request = parsed(line).unwrap();
            assert_eq!((request.foreground, request.fake), (foreground, fake), "{line}");
        }
        check("m/v /mnt", false, false);
        check("-f m/v /mnt", true, false);
        check("-o ro -f m/v /mnt", true, false);
        check("m/v /mnt -f", false, true);
        check("m/v /mnt -sfnv -o rw", false, true);
        check("m/v /mnt --foreground", true, false);
        check("--fake m/v /mnt", false, true);
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
        let config = MountConfig {
            dir: vec!["a".into(), "b:1".into()],
            options: "timeo=7,noatime,direct_io".into(),
        };
        let seconds = |line: &str, environment: &[(&str, &str)]| {
            parsed_in(line, environment, &config).unwrap().options.timeo.as_secs()
        };
        assert_eq!(seconds("v /mnt", &[]), 7);
        assert_eq!(seconds("v /mnt", &[("XTFS_MOUNT_TIMEO", "8")]), 8);
        assert_eq!(seconds("v /mnt -o timeo=9", &[("XTFS_MOUNT_TIMEO", "8")]), 9);
        assert_eq!(seconds("v /mnt", &[("XTFS_MOUNT_OPTIONS", "timeo=10")]), 10);
        let request = parsed_in("v /mnt", &[("XTFS_MOUNT_DIRECT_IO", "0")], &config).unwrap();
        assert!(!request.options.direct_io);
        assert_eq!((request.spec, request.source.as_str()), ("a,b:1/v".parse().unwrap(), "v"));
        let request = parsed_in("v /mnt", &[("XTFS_DIR", "c")], &config).unwrap();
        assert_eq!(request.spec, "c/v".parse().unwrap());
        assert!(parsed_in("v /mnt", &[("XTFS_MOUNT_NONEMPTY", "maybe")], &config).is_err());
    }

    #[test]
    fn a_subdirectory_comes_from_the_spec_or_an_option() {
        assert_eq!(parsed("m/v/x/y /mnt").unwrap().spec.subdir(), Some("x/y"));
        assert_eq!(parsed("m/v /mnt -o subdir=x/y").unwrap().spec.subdir(), Some("x/y"));
        assert_eq!(parsed("xtfs://m,n:5/v/x /mnt -o subdir=y").unwrap().spec.subdir(), Some("x/y"));
    }

    #[test]
    fn a_wrong_call_is_code_1_and_says_why() {
        #[track_caller]
        fn check(line: &str, why: &str) {
            let failure = parsed(line).unwrap_err();
            assert_eq!(failure.exit_code(), 1, "{line}");
            assert!(failure.to_string().contains(why), "{line}: {failure}");
        }
        check("", "mountpoint");
        check("m/v", "mountpoint");
        check("m/v /mnt /other", "/other");
        check("v /mnt", "names no DIR");
        check("m/ /mnt", "volume");
        check("m/v /mnt -o", "-o needs");
        check("m/v /mnt -o timo=5", "did you mean \"timeo\"");
        check("m/v /mnt -N 4711", "nsenter");
        check("m/v /mnt -t nfs", "nfs");
        check("m/v /mnt -x", "-x");
        check("m/v /mnt --frobnicate", "--frobnicate");
        check("m/v /mnt --foreground=1", "--foreground");
    }

    #[test]
    fn help_and_version_need_nothing_else() {
        let none = |_: &str| None;
        let parse = |text: &str| parse([OsString::from(text)], &none, &MountConfig::default());
        assert_eq!(parse("--help"), Ok(Invocation::Help));
        assert_eq!(parse("-h"), Ok(Invocation::Help));
        assert_eq!(parse("--version"), Ok(Invocation::Version));
        assert_eq!(parse("-V"), Ok(Invocation::Version));
    }

    #[test]
    fn every_shown_flag_is_read() {
        cli().debug_assert();
        for arg in cli().get_arguments().filter(|arg| !arg.is_positional()) {
            let takes_value = arg.get_action().takes_values();
            let value = match arg.get_id().as_str() {
                _ if !takes_value => "",
                "type" => "xtfs",
                _ => "ro",
            };
            if let Some(short) = arg.get_short() {
                assert!(parsed(&format!("m/v /mnt -{short} {value}")).is_ok(), "-{short}");
            }
            if let Some(long) = arg.get_long() {
                assert!(parsed(&format!("m/v /mnt --{long} {value}")).is_ok(), "--{long}");
            }
        }
    }

    #[test]
    fn the_file_refuses_what_it_does_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mount.toml");
        assert_eq!(read_config(&path), Ok(MountConfig::default()));
        std::fs::write(&path, "dir = [\"m\"]\noptions = \"noatime\"\n").unwrap();
        assert_eq!(read_config(&path).unwrap().dir, ["m"]);
        std::fs::write(&path, "dirs = [\"m\"]\n").unwrap();
        let failure = read_config(&path).unwrap_err();
        assert!(failure.to_string().contains("dirs"), "{failure}");
    }
}
