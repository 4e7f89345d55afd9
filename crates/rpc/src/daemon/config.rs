//! Configuration files: read from /etc/xtfs, and samples generated from the structs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

const FOLDER: &str = "/etc/xtfs";

/// Names and texts of a struct's fields; made by [`config!`](crate::config!).
pub trait Describe {
    const ABOUT: &'static [&'static str];
    const FIELDS: &'static [(&'static str, &'static [&'static str])];
}

/// Declares a configuration struct: every field has a text and a default, unknown ones are refused.
///
/// ```
/// xtfs_rpc::config! {
///     /// Settings of `xtfs-example`.
///     pub struct Config {
///         /// Greeting, at most a line.
///         pub greeting: String = "hello".to_owned(),
///     }
/// }
/// ```
#[macro_export]
macro_rules! config {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $($(#[doc = $text:literal])* pub $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $text])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $crate::daemon::Describe for $name {
            const ABOUT: &'static [&'static str] = &[$($about),*];
            const FIELDS: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($field), &[$($text),*])),*];
        }
    };
}

/// Reads `file`, or else `/etc/xtfs/<program without xtfs->.toml` if that exists.
pub fn load_config<C: DeserializeOwned + Default>(
    program: &str,
    file: Option<&Path>,
) -> Result<C, Failure> {
    let name = program.strip_prefix("xtfs-").unwrap_or(program);
    let default = PathBuf::from(format!("{FOLDER}/{name}.toml"));
    let path = file.unwrap_or(&default);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(err) if err.kind() == ErrorKind::NotFound && file.is_none() => return Ok(C::default()),
        Err(err) => {
            return Err(Failure::new(
                format!("cannot read the configuration {}: {err}", path.display()),
                "correct --config or the file's permissions",
            ));
        }
    };
    toml::from_str(&text).map_err(|err| {
        let line = err.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        Failure::new(
            format!("{}, line {line}: {}", path.display(), err.message()),
            "correct the file; share/xtfs has a sample with every setting",
        )
    })
}

/// A file with every setting and its default, all commented out.
pub fn sample_config<C: Serialize + Default + Describe>() -> String {
    let defaults = toml::Table::try_from(C::default()).expect("a configuration is plain values");
    let mut sample = String::new();
    for line in C::ABOUT {
        sample.push_str(&format!("#{line}\n"));
    }
    for (field, texts) in C::FIELDS {
        sample.push('\n');
        for text in *texts {
            sample.push_str(&format!("#{text}\n"));
        }
        match defaults.get(*field) {
            Some(value) => sample.push_str(&format!("#{field} = {value}\n")),
            None => sample.push_str(&format!("#{field} =\n")),
        }
    }
    sample
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro makes public structs")]
mod tests {
    use super::*;

    crate::config! {
        /// Settings of a test.
        pub struct Example {
            /// Seconds.
            pub pause_s: u64 = 5,
            /// Zone, if any.
            pub zone: Option<String> = None,
        }
    }

    #[test]
    fn a_sample_has_every_field_and_reads_as_the_defaults() {
        let sample = sample_config::<Example>();
        let expected =
            "# Settings of a test.\n\n# Seconds.\n#pause_s = 5\n\n# Zone, if any.\n#zone =\n";
        assert_eq!(sample, expected);
        assert_eq!(toml::from_str::<Example>(&sample).unwrap(), Example::default());
    }

    #[test]
    fn a_file_is_read_or_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, "pause_s = 7\n").unwrap();
        assert_eq!(load_config::<Example>("xtfs-x", Some(&path)).unwrap().pause_s, 7);
        std::fs::write(&path, "pause_s = 7\nspeed = 9\n").unwrap();
        let err = load_config::<Example>("xtfs-x", Some(&path)).unwrap_err().to_string();
        assert!(err.contains("line 2") && err.contains("speed"), "{err}");
        assert!(load_config::<Example>("xtfs-x", Some(&dir.path().join("none"))).is_err());
        assert_eq!(load_config::<Example>("xtfs-no-such", None).unwrap(), Example::default());
    }
}
