//! Programs that people use, on a striped volume: on one mount, and on two at once.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use xtfs_testkit::campaign::suites::{Striped, applications};
use xtfs_testkit::{Mount, fuse_or_skip, run, tree};

/// Of each writer to a database.
const INSERTS: usize = 12;
const MAILS: usize = 60;
const VERSIONS: usize = 60;

#[track_caller]
fn bash(script: &str) -> String {
    run("bash", &["-euo", "pipefail", "-c", script]).ok()
}

/// A volume on two mounts.
fn two_mounts() -> Option<(Striped, Mount)> {
    if !fuse_or_skip() {
        return None;
    }
    let striped = Striped::start();
    let second = striped.cluster.mount("v");
    Some((striped, second))
}

#[track_caller]
fn end(striped: Striped, second: Mount) {
    second.unmount();
    striped.mount.unmount();
    striped.cluster.assert_clean("v");
}

#[test]
fn git_sqlite_rsync_tar_and_disk_images_work() {
    if !fuse_or_skip() {
        return;
    }
    let striped = Striped::start();
    applications(striped.mount.path());
    striped.mount.unmount();
    striped.cluster.assert_clean("v");
}

/// Both insert into one database at once; each transaction is there, and the database is sound.
fn two_insert(journal: &str, databases: [&Path; 2]) {
    let sql = |database: &Path, script: &str| {
        // All but WAL are each connection's own choice.
        let script = format!("pragma journal_mode={journal}; {script}");
        let patient = ["-bail", "-cmd", ".timeout 60000"].map(OsStr::new);
        let args = [&patient[..], &[database.as_os_str(), script.as_ref()]].concat();
        let shown = run("sqlite3", &args).ok();
        shown.trim_start_matches(journal).trim().to_owned()
    };
    sql(databases[0], "create table t(writer, number);");
    std::thread::scope(|scope| {
        for (writer, database) in databases.into_iter().enumerate() {
            scope.spawn(move || {
                let insert = |number| {
                    format!("begin immediate; insert into t values({writer}, {number}); commit;")
                };
                sql(database, &(0..INSERTS).map(insert).collect::<String>());
            });
        }
    });
    for database in databases {
        let count = sql(database, "select count(*), count(distinct number) from t;");
        assert_eq!(count, format!("{}|{INSERTS}", 2 * INSERTS), "{journal}");
        assert_eq!(sql(database, "pragma integrity_check;"), "ok", "{journal}");
    }
}

#[test]
fn two_processes_share_a_database_in_all_journal_modes() {
    let Some((striped, second)) = two_mounts() else { return };
    for journal in ["delete", "truncate", "persist", "memory", "wal"] {
        let database = striped.mount.join(format!("{journal}.db"));
        two_insert(journal, [&database, &database]);
    }
    end(striped, second);
}

/// A write-ahead log is shared through mapped memory, which two nodes do not have in common.
#[test]
fn two_mounts_share_a_database_in_all_journal_modes_without_shared_memory() {
    let Some((striped, second)) = two_mounts() else { return };
    for journal in ["delete", "truncate", "persist", "memory"] {
        let name = format!("{journal}.db");
        two_insert(journal, [&striped.mount.join(&name), &second.join(&name)]);
    }
    end(striped, second);
}

#[test]
fn archives_keep_attributes_lists_and_holes_both_ways() {
    let Some((striped, second)) = two_mounts() else { return };
    let local = TempDir::with_prefix("xtfs-source-").unwrap();
    let source = local.path().join("source");
    fs::create_dir(&source).unwrap();
    tree::make(&source, 60, 11);
    let (here, there) = (local.path().display(), striped.mount.path().display());
    bash(&format!(
        "cd {here}/source && echo x > listed && setfacl -m u:1001:rw,g:2001:r listed && \
         mkdir inherits && setfacl -d -m u:1002:rwx inherits && ln listed hard && \
         setfattr -n user.colour -v blue listed && setfattr -n trusted.t -v 1 listed && \
         truncate -s 9M sparse && printf data | dd of=sparse bs=1 seek=5M conv=notrunc status=none"
    ));
    let shown = |folder: &str| {
        bash(&format!(
            "cd {folder} && find . ! -type l -print0 | sort -z | xargs -0 getfacl -pE && getfattr -Rdm - -h . | sort && \
             find . -printf '%P %M %U %G %n %l %s\\n' | sed 's/^\\(.* d.*\\) [0-9]*$/\\1/' | sort"
        ))
    };
    let expected = shown(&format!("{here}/source"));
    bash(&format!(
        "tar -C {here}/source --acls --xattrs --xattrs-include='*' -Scf {there}/all.tar . && mkdir {there}/tar {here}/back && \
         tar -C {there}/tar --acls --xattrs --xattrs-include='*' -xpf {there}/all.tar && \
         tar -C {there}/tar --acls --xattrs --xattrs-include='*' -Sc . | \
         tar -C {here}/back --acls --xattrs --xattrs-include='*' -xp"
    ));
    bash(&format!(
        "rsync -aHAXS {here}/source/ {there}/rsync/ && rsync -aHAXni --checksum {here}/source/ {there}/rsync/ | wc -l | grep -qx 0"
    ));
    bash(&format!(
        "cp -a {there}/rsync {there}/copy && cp --sparse=always {there}/rsync/sparse {there}/thin"
    ));
    for folder in [
        format!("{there}/tar"),
        format!("{there}/rsync"),
        format!("{there}/copy"),
        format!("{here}/back"),
    ] {
        assert_eq!(shown(&folder), expected, "{folder}");
        tree::assert_equal(&source, Path::new(&folder));
    }
    bash(&format!("cmp {here}/source/sparse {}/thin", second.path().display()));
    let blocks = bash(&format!("stat -c %b {there}/thin"));
    assert!(blocks.trim().parse::<u64>().unwrap() < 2048, "{blocks}");
    end(striped, second);
}

/// Delivered as by a mail server: whole under a temporary name, synced, linked into place.
#[test]
fn mail_is_delivered_on_one_mount_and_read_on_another() {
    let Some((striped, second)) = two_mounts() else { return };
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir(striped.mount.join(folder)).unwrap();
    }
    let text = |number: usize| format!("mail {number}\n").repeat(1 + number * 37);
    let mut read = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MAILS {
                let at = |folder: &str| striped.mount.join(format!("{folder}/{number}"));
                fs::write(at("tmp"), text(number)).unwrap();
                fs::File::open(at("tmp")).unwrap().sync_all().unwrap();
                fs::hard_link(at("tmp"), at("new")).unwrap();
                fs::remove_file(at("tmp")).unwrap();
            }
        });
        xtfs_testkit::eventually("all mail is read", || {
            for entry in fs::read_dir(second.join("new")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let read_mail = second.join(format!("cur/{name}:2,S"));
                fs::rename(second.join("new").join(&name), &read_mail).unwrap();
                assert_eq!(fs::read_to_string(read_mail).unwrap(), text(name.parse().unwrap()));
                read += 1;
            }
            read == MAILS
        });
    });
    assert_eq!(fs::read_dir(striped.mount.join("cur")).unwrap().count(), MAILS);
    assert_eq!(fs::read_dir(striped.mount.join("tmp")).unwrap().count(), 0);
    end(striped, second);
}

#[test]
fn a_file_that_is_replaced_is_read_whole_on_another_mount() {
    let Some((striped, second)) = two_mounts() else { return };
    let text = |version: usize| format!("{version:06}\n").repeat(1 + version * 997 % 60_000);
    fs::write(striped.mount.join("f"), text(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = [&striped.mount, &second]
            .map(|mount| {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let seen = fs::read_to_string(mount.join("f")).unwrap();
                        let version: usize = seen[..6].parse().unwrap();
                        assert!(
                            version >= last && seen == text(version),
                            "version {version} after {last}"
                        );
                        last = version;
                    }
                })
            })
            .into_iter()
            .collect();
        for version in 1..=VERSIONS {
            fs::write(striped.mount.join("f.new"), text(version)).unwrap();
            fs::rename(striped.mount.join("f.new"), striped.mount.join("f")).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    end(striped, second);
}
