//! Bad input: named, explained, with the way out, and nothing half-done left behind.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::push::random;
use crate::support::{Home, NOBODY, as_user, pyro, told};
use crate::tree::{names, python, str_of};

/// A failure has this code and exit code, names the thing and tells the way out.
#[track_caller]
fn check((exit, error): &(i32, Value), code: &str, status: i32, thing: &str) {
    assert_eq!((str_of(error, "code"), *exit), (code, status), "{error}");
    assert!(str_of(error, "message").contains(thing), "{thing:?} is not named: {error}");
    // What an argument must be like is in the message.
    let told = code == "invalid_argument" || error["hint"].is_string();
    assert!(told, "no way out: {error}");
}

impl Home {
    /// What a failed command could have left behind.
    fn remains(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<String>) {
        let workspaces = self.path().join("workspaces");
        let workspaces = if workspaces.exists() { names(&workspaces) } else { Vec::new() };
        let machines =
            self.processes().into_iter().filter(|line| line.contains(" shim ")).collect();
        (workspaces, names(self.path().parent().unwrap()), machines)
    }
}

/// Makes hostile and broken archives in the directory that is its argument.
const ARCHIVES: &str = r#"
import io, os, sys, tarfile
os.chdir(sys.argv[1])
def archive(name, *members, mode='w'):
    with tarfile.open(name, mode) as tar:
        for path, kind, target in members:
            info = tarfile.TarInfo(path)
            info.type = kind
            info.linkname = target
            data = os.urandom(5000) if kind == tarfile.REGTYPE else b''
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
FILE, DIR, LINK, HARD, CHAR = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
good = ('good', FILE, '')
archive('climbs.tar', good, ('../evil', FILE, ''))
archive('climbs-inside.tar', good, ('a/../../evil', FILE, ''))
archive('absolute.tar', good, ('/evil', FILE, ''))
archive('through-link.tar', good, ('out', LINK, '/tmp'), ('out/evil', FILE, ''))
archive('hard-outside.tar', good, ('evil', HARD, '../../etc/passwd'))
archive('hard-absolute.tar', good, ('evil', HARD, '/etc/passwd'))
archive('whole.tar.gz', good, ('other', FILE, ''), mode='w:gz')
archive('fine.tar', good, ('abs', LINK, '/etc/passwd'), ('up', LINK, '../../..'), ('null', CHAR, ''))
whole = open('whole.tar.gz', 'rb').read()
open('truncated.tar.gz', 'wb').write(whole[:len(whole) // 2])
flipped = bytearray(whole)
flipped[-6] ^= 0xff
open('flipped.tgz', 'wb').write(flipped)
open('truncated.tar', 'wb').write(open('climbs.tar', 'rb').read()[:3000])
open('text.tar', 'wb').write(b'this is no archive\n' * 100)
open('nothing.tar', 'wb').close()
info = tarfile.TarInfo('huge')
info.size = 1 << 50
open('bomb.tar', 'wb').write(info.tobuf(tarfile.GNU_FORMAT))
info = tarfile.TarInfo('huge')
info.type = tarfile.GNUTYPE_LONGNAME
info.size = 1 << 40
open('long-name-bomb.tar', 'wb').write(info.tobuf(tarfile.GNU_FORMAT) + b'x' * (8 << 20))
"#;

fn archives(home: &Home) -> PathBuf {
    let dir = home.scratch("archives");
    fs::create_dir(&dir).unwrap();
    python(ARCHIVES, [&dir]);
    dir
}

/// Archives that are refused, and the member that is named.
const REFUSED: &[(&str, &str)] = &[
    ("climbs.tar", "../evil"),
    ("climbs-inside.tar", "a/../../evil"),
    ("absolute.tar", "/evil"),
    ("through-link.tar", "out/evil"),
    ("hard-outside.tar", "evil"),
    ("hard-absolute.tar", "evil"),
    ("truncated.tar", "truncated.tar"),
    ("truncated.tar.gz", "truncated.tar.gz"),
    ("flipped.tgz", "flipped.tgz"),
    ("text.tar", "text.tar"),
    ("nothing.tar", "nothing.tar"),
    ("bomb.tar", "bomb.tar"),
    ("long-name-bomb.tar", "long-name-bomb.tar"),
];

#[test]
fn nothing_is_made_of_what_cannot_be_a_workspace() {
    let home = Home::new();
    let archives = archives(&home);
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    let _socket = UnixListener::bind(home.scratch("socket")).unwrap();
    fs::write(home.scratch("plain.txt"), "x").unwrap();
    symlink("nowhere", home.scratch("dangling")).unwrap();
    let path = |name: &str| home.scratch(name).to_str().unwrap().to_owned();
    let create = |environment: &str, seed: &str| {
        home.fails(["workspace", "create", environment, "--seed-path", seed])
    };
    let seed = seed.to_str().unwrap();
    home.ok(["workspace", "list"]);
    let before = home.remains();

    check(&create("debian:99", seed), "unknown_environment", 3, "debian:99");
    check(&create("../../etc", seed), "unknown_environment", 3, "../../etc");
    check(&create("debian:12", &path("missing")), "path_not_found", 3, "missing");
    check(&create("debian:12", &path("dangling")), "path_not_found", 3, "dangling");
    check(&create("debian:12", &path("plain.txt/x")), "path_not_found", 3, "plain.txt/x");
    check(&create("debian:12", &path("socket")), "unreadable_source", 1, "socket");
    check(&create("debian:12", &path("plain.txt")), "unreadable_source", 1, "plain.txt");
    check(&create("debian:12", "/dev/null"), "unreadable_source", 1, "/dev/null");
    let own = home.path();
    check(&create("debian:12", own.to_str().unwrap()), "invalid_argument", 2, "home");
    for (archive, thing) in REFUSED {
        let failure = create("debian:12", archives.join(archive).to_str().unwrap());
        check(&failure, "bad_archive", 2, thing);
        assert!(str_of(&failure.1, "message").contains(archive), "{}", failure.1);
    }
    let with = |flag: &str, value: &str| {
        home.fails(["workspace", "create", "debian:12", flag, value, "--seed-path", seed])
    };
    check(&with("--vcpu-count", "0"), "invalid_argument", 2, "vcpu-count");
    check(&with("--vcpu-count", "9999"), "invalid_argument", 2, "CPU");
    check(&with("--mem-mib", "1"), "invalid_argument", 2, "memory");
    check(&with("--disk-mib", "255"), "invalid_argument", 2, "disk");
    check(&with("--mem-mib", "x"), "invalid_argument", 2, "mem-mib");
    check(&with("--ttl-seconds", "0"), "invalid_argument", 2, "ttl-seconds");
    check(&with("--name", "../x"), "invalid_argument", 2, "name");
    check(&with("--exclude", "[z-a]"), "invalid_argument", 2, "[z-a]");
    check(&with("--label", "nonsense"), "invalid_argument", 2, "nonsense");

    let run = home.fails(["run", "debian:99", "--", "true"]);
    check(&run, "unknown_environment", 125, "debian:99");
    let absent = "no-such-workspace";
    let status = |verb: &str| home.fails(["workspace", verb, absent]);
    for verb in ["status", "diff", "logs", "start", "stop", "delete"] {
        check(&status(verb), "unknown_workspace", 3, absent);
    }
    let exec = home.fails(["workspace", "exec", absent, "--", "true"]);
    check(&exec, "unknown_workspace", 125, absent);
    let output = path("out");
    let export = home.fails(["workspace", "export", absent, ".", "--output", &output]);
    check(&export, "unknown_workspace", 3, absent);
    let push = home.fails(["workspace", "sync", "push", absent, seed]);
    check(&push, "unknown_workspace", 3, absent);

    // Links that point anywhere are only data, and a device is no file: listed, not lost.
    let fine = archives.join("fine.tar");
    let ingested = home.json(["store", "ingest", fine.to_str().unwrap()]);
    assert_eq!(ingested["skipped"][0]["path"], "null");
    assert_eq!(ingested["skipped"][0]["reason"], "device");
    assert_eq!(home.remains(), before);
    assert_eq!(home.json(["store", "verify"])["clean"], true);
}

#[test]
fn what_a_workspace_refuses_leaves_it_and_the_host_alone() {
    let home = Home::new();
    let archives = archives(&home);
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("d")).unwrap();
    fs::write(seed.join("d/f"), "x\n").unwrap();
    symlink("/etc", seed.join("link")).unwrap();
    let id = home.workspace(&seed);
    let _socket = UnixListener::bind(home.scratch("socket")).unwrap();
    fs::create_dir(home.scratch("taken")).unwrap();
    let path = |name: &str| home.scratch(name).to_str().unwrap().to_owned();
    let before = home.remains();

    let push = |source: &str| home.fails(["workspace", "sync", "push", &id, source]);
    check(&push(&path("missing")), "path_not_found", 3, "missing");
    check(&push(&path("socket")), "unreadable_source", 1, "socket");
    for (archive, thing) in REFUSED {
        let failure = push(archives.join(archive).to_str().unwrap());
        check(&failure, "bad_archive", 2, thing);
    }

    let export =
        |from: &str, to: &str| home.fails(["workspace", "export", &id, from, "--output", to]);
    check(&export("no/such", &path("out")), "path_not_found", 3, "no/such");
    check(&export("d/f/below", &path("out")), "path_not_found", 3, "d/f");
    // Never followed: it points to the host's own files when it is looked at here.
    check(&export("link/passwd", &path("out")), "path_not_found", 3, "link");
    check(&export("../etc/passwd", &path("out")), "outside_workspace", 2, "../etc/passwd");
    check(&export("/etc/passwd", &path("out")), "outside_workspace", 2, "/etc/passwd");
    check(&export("d", &path("taken")), "already_exists", 4, "taken");
    check(&export("d", &path("no/parent")), "path_not_found", 3, "no");
    check(&export("d", "/"), "already_exists", 4, "/");
    let into_home = home.path().join("store/x");
    check(&export("d", into_home.to_str().unwrap()), "invalid_argument", 2, "store/x");
    let zeros = "0".repeat(64);
    for (tree, code, status) in [("xyz", "invalid_argument", 2), (&zeros, "tree_changed", 4)] {
        let failure =
            home.fails(["workspace", "export", &id, ".", "--output", &path("o"), "--tree", tree]);
        check(&failure, code, status, tree);
    }
    let create = home.fails(["workspace", "create", "debian:12", "--name", &id]);
    check(&create, "already_exists", 4, &id);
    assert_eq!(home.json(["workspace", "diff", &id])["changed"], false);

    let exec = |args: &[&str]| {
        let call = [&["workspace", "exec", &id, "--json"], args].concat();
        let output = home.output(call);
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        (output.status.code().unwrap(), document)
    };
    let (code, timed) = exec(&["--timeout-seconds", "0.2", "--", "sleep", "1000"]);
    assert_eq!((code, &timed["exit_code"], &timed["timed_out"]), (124, &124.into(), &true.into()));
    let (code, missing) = exec(&["--", "no-such-program"]);
    assert_eq!(code, 127, "as a shell would: {missing}");
    assert!(missing.to_string().contains("no-such-program"), "{missing}");

    home.json(["workspace", "stop", &id]);
    assert_eq!(home.json(["workspace", "status", &id])["state"], "stopped");
    let way_out = |failure: (i32, Value), status| {
        check(&failure, "workspace_state", status, &id);
        assert!(str_of(&failure.1, "hint").contains("pyro workspace start"), "{}", failure.1);
    };
    way_out(home.fails(["workspace", "diff", &id]), 4);
    way_out(home.fails(["workspace", "exec", &id, "--", "true"]), 125);
    way_out(export("d", &path("out")), 4);
    way_out(push(seed.to_str().unwrap()), 4);
    assert_eq!(home.json(["workspace", "logs", &id])["entries"].as_array().unwrap().len(), 2);
    let (workspaces, beside, _) = home.remains();
    assert_eq!((&workspaces, &beside), (&before.0, &before.1));
    home.json(["workspace", "delete", &id]);
    assert_eq!(home.remains(), (Vec::new(), before.1, Vec::new()));
}

#[test]
fn without_qemu_nothing_starts_and_the_package_is_named() {
    let home = Home::new();
    let bin = home.scratch("bin");
    fs::create_dir(&bin).unwrap();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    let before = home.remains();
    let call =
        ["workspace", "create", "debian:12", "--json", "--seed-path", seed.to_str().unwrap()];
    let output = home.command(call).env("PATH", &bin).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let failure = (output.status.code().unwrap(), document["error"].clone());
    check(&failure, "missing_tool", 5, "qemu");
    assert!(str_of(&failure.1, "hint").contains("qemu-system-x86"), "{}", failure.1);
    assert_eq!(home.remains(), before);
}

/// A small file system of its own; needs root.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap().keep();
        let options = format!("size={size},mode=755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&dir).output();
        let tmpfs = Self(dir);
        match mounted {
            Ok(output) if output.status.success() => Some(tmpfs),
            other => {
                eprintln!("skipped: no tmpfs can be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_wreck() {
    let Some(small) = Tmpfs::mount("24m") else { return };
    let home = Home::new_in(&small.0);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("big"), random(1, 40 << 20)).unwrap();
    let seed = elsewhere.path().to_str().unwrap();
    home.ok(["workspace", "list"]);
    let before = home.remains();
    check(&home.fails(["store", "ingest", seed]), "no_space", 5, "");
    check(
        &home.fails(["workspace", "create", "debian:12", "--seed-path", seed]),
        "no_space",
        5,
        "",
    );
    assert_eq!(home.remains(), before);
    // It goes on with what fits, and nothing of what did not is in the way.
    fs::write(elsewhere.path().join("big"), random(1, 4 << 20)).unwrap();
    home.json(["store", "ingest", seed]);
    assert_eq!(home.json(["store", "verify"])["clean"], true);
}

#[test]
fn an_export_to_a_full_disk_leaves_nothing() {
    let Some(small) = Tmpfs::mount("4m") else { return };
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("big"), random(1, 8 << 20)).unwrap();
    fs::write(small.0.join("kept"), "kept\n").unwrap();
    let id = home.workspace(&seed);
    for from in ["big", "."] {
        for target in ["new", "kept"] {
            let to = small.0.join(target);
            let to = to.to_str().unwrap();
            let failure = home.fails(["workspace", "export", &id, from, "--output", to, "--force"]);
            check(&failure, "no_space", 5, to);
            assert_eq!(names(&small.0), [b"kept"]);
        }
    }
    assert_eq!(fs::read_to_string(small.0.join("kept")).unwrap(), "kept\n");
}

#[test]
fn a_file_that_the_caller_may_not_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::metadata(dir.path()).unwrap().uid() == 0;
    let home = dir.path().join("home");
    let seed = dir.path().join("seed");
    fs::create_dir_all(seed.join("d")).unwrap();
    fs::write(seed.join("d/secret"), "x").unwrap();
    fs::write(seed.join("open"), "x").unwrap();
    let mode = |path: &Path, mode: &str| {
        assert!(Command::new("chmod").arg(mode).arg(path).status().unwrap().success());
    };
    mode(&seed.join("d/secret"), "000");
    mode(dir.path(), "777");
    // Root may read everything, so somebody else has to ask.
    let ingest = || {
        let mut command = if root { as_user(NOBODY) } else { pyro() };
        command.env("PYRO_HOME", &home).arg("store").arg("ingest").arg("--json").arg(&seed);
        command
    };
    let output = ingest().output().unwrap();
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    let failure = (output.status.code().unwrap(), document["error"].clone());
    check(&failure, "unreadable_source", 1, "d/secret");
    assert!(str_of(&failure.1, "hint").contains("--skip-unreadable"), "{}", failure.1);
    let output = ingest().arg("--skip-unreadable").output().unwrap();
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    assert_eq!(document["skipped"][0]["path"], "d/secret");
    assert_eq!(document["skipped"][0]["reason"], "unreadable");
    let stopped = pyro().args(["daemon", "stop"]).env("PYRO_HOME", &home).output().unwrap();
    assert!(stopped.status.success(), "{}", told(&stopped));
}
