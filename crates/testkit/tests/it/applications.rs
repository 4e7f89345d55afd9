//! Programs that people use, on a striped volume: on one mount, and on two at once.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use xtfs_testkit::campaign::disturbance::Disturbance;
use xtfs_testkit::campaign::suites::{Striped, applications};
use xtfs_testkit::{Mount, errand, fuse_or_skip, run, tree};

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

fn check_applications(disturbance: Disturbance) {
    if !fuse_or_skip() {
        return;
    }
    let mut striped = Striped::start();
    applications(&mut striped, disturbance);
    striped.mount.unmount();
    striped.cluster.assert_clean("v");
}

#[test]
fn git_sqlite_rsync_tar_and_disk_images_work() {
    check_applications(Disturbance::None);
}

#[test]
fn git_sqlite_rsync_tar_and_disk_images_work_while_services_are_killed() {
    check_applications(Disturbance::Once);
}

/// Both insert into one database at once; each transaction is there, and the database is sound. `first` is what each
/// connection begins with.
fn two_insert(
    (journal, first): (&str, &str),
    databases: [&Path; 2],
    inserts: usize,
    together: Together,
) {
    let sql = |database: &Path, script: &str| {
        // All but WAL are each connection's own choice.
        let script = format!("{first} pragma journal_mode={journal}; select '--'; {script}");
        let patient = ["-bail", "-cmd", ".timeout 60000"].map(OsStr::new);
        let args = [&patient[..], &[database.as_os_str(), script.as_ref()]].concat();
        let shown = run("sqlite3", &args).ok();
        shown.rsplit("--\n").next().unwrap_or_default().trim().to_owned()
    };
    sql(databases[0], "create table t(writer, number);");
    std::thread::scope(|scope| {
        for (writer, database) in databases.into_iter().enumerate() {
            let writing = scope.spawn(move || {
                let insert = |number| {
                    format!("begin immediate; insert into t values({writer}, {number}); commit;")
                };
                sql(database, &(0..inserts).map(insert).collect::<String>());
            });
            if together == Together::InTurns {
                writing.join().expect("its transactions are made");
            }
        }
    });
    for database in databases {
        let count = sql(database, "select count(*), count(distinct number) from t;");
        assert_eq!(count, format!("{}|{inserts}", 2 * inserts), "{journal}");
        assert_eq!(sql(database, "pragma integrity_check;"), "ok", "{journal}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Together {
    AtOnce,
    InTurns,
}

fn check_databases(disturbance: Disturbance) {
    let Some((mut striped, second)) = two_mounts() else { return };
    let inserts = if disturbance == Disturbance::None { INSERTS } else { 5 * INSERTS };
    for journal in ["delete", "truncate", "persist", "memory", "off", "wal"] {
        let database = striped.mount.join(format!("{journal}.db"));
        disturbance.during(&mut striped.cluster, 1, || {
            two_insert((journal, ""), [&database, &database], inserts, Together::AtOnce);
        });
    }
    // A write-ahead log is shared through mapped memory, which two nodes do not have in common: in turns. Two that begin
    // at once in this mode refuse each other for ever, also on a local file system.
    let in_turns = (("wal", "pragma locking_mode=exclusive;"), Together::InTurns);
    let modes = ["delete", "truncate", "persist", "memory", "off"]
        .map(|journal| ((journal, ""), Together::AtOnce));
    for (mode, together) in modes.into_iter().chain([in_turns]) {
        let name = format!("{}-on-two.db", mode.0);
        let databases = [&striped.mount, &second].map(|mount| mount.join(&name));
        disturbance.during(&mut striped.cluster, 2, || {
            two_insert(mode, [&databases[0], &databases[1]], inserts, together);
        });
    }
    end(striped, second);
}

#[test]
fn two_processes_and_two_mounts_share_a_database_in_all_journal_modes() {
    check_databases(Disturbance::None);
}

#[test]
fn databases_are_shared_while_services_are_killed() {
    check_databases(Disturbance::Once);
}

#[test]
fn archives_keep_attributes_lists_and_holes_both_ways() {
    check_archives(Disturbance::None);
}

#[test]
fn archives_keep_all_while_services_are_killed() {
    check_archives(Disturbance::Once);
}

fn check_archives(disturbance: Disturbance) {
    let Some((mut striped, second)) = two_mounts() else { return };
    let local = TempDir::with_prefix("xtfs-source-").unwrap();
    let source = local.path().join("source");
    fs::create_dir(&source).unwrap();
    tree::make(&source, 60, 11);
    let (here, there) = (local.path().display(), striped.mount.path().display().to_string());
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
    striped.sh(3, disturbance, |_| format!(
        "tar -C {here}/source --acls --xattrs --xattrs-include='*' -Scf {there}/all.tar . && mkdir {there}/tar {here}/back && \
         tar -C {there}/tar --acls --xattrs --xattrs-include='*' -xpf {there}/all.tar && \
         tar -C {there}/tar --acls --xattrs --xattrs-include='*' -Sc . | \
         tar -C {here}/back --acls --xattrs --xattrs-include='*' -xp"
    ));
    striped.sh(3, disturbance, |_| format!(
        "rsync -aHAXS {here}/source/ {there}/rsync/ && rsync -aHAXni --checksum {here}/source/ {there}/rsync/ | wc -l | grep -qx 0"
    ));
    striped.sh(3, disturbance, |_| format!(
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

#[test]
fn mail_is_delivered_on_one_mount_and_read_on_another() {
    check_mail(MAILS, Disturbance::None);
}

#[test]
fn mail_is_delivered_while_services_are_killed() {
    check_mail(2 * MAILS, Disturbance::Once);
}

fn check_mail(mails: usize, disturbance: Disturbance) {
    let Some((mut striped, second)) = two_mounts() else { return };
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir(striped.mount.join(folder)).unwrap();
    }
    let errands = vec![
        errand::start("deliver", striped.mount.path(), mails),
        errand::start("collect", second.path(), mails),
    ];
    disturbance.during(&mut striped.cluster, 4, || errand::end(errands));
    assert_eq!(fs::read_dir(striped.mount.join("cur")).unwrap().count(), mails);
    assert_eq!(fs::read_dir(striped.mount.join("tmp")).unwrap().count(), 0);
    end(striped, second);
}

#[test]
fn a_file_that_is_replaced_is_read_whole_on_another_mount() {
    check_replacing(VERSIONS, Disturbance::None);
}

#[test]
fn a_file_is_replaced_and_read_while_services_are_killed() {
    check_replacing(2 * VERSIONS, Disturbance::Once);
}

fn check_replacing(versions: usize, disturbance: Disturbance) {
    let Some((mut striped, second)) = two_mounts() else { return };
    fs::write(striped.mount.join("f"), errand::version(0)).unwrap();
    let errands = vec![
        errand::start("watch", striped.mount.path(), versions),
        errand::start("watch", second.path(), versions),
        errand::start("replace", striped.mount.path(), versions),
    ];
    disturbance.during(&mut striped.cluster, 5, || errand::end(errands));
    end(striped, second);
}
