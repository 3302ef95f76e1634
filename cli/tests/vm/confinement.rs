//! What a guest that took over QEMU would find.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::dir_of;
use crate::support::{Home, check};
use crate::tree::str_of;

/// The QEMU of a workspace: the process that has its scratch disk open.
fn qemu(home: &Home, workspace: &str) -> PathBuf {
    let scratch = dir_of(home, workspace);
    let has_disk = |process: &Path| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let mut files = files.filter_map(|file| fs::read_link(file.path()).ok());
        name.starts_with("qemu") && files.any(|file| file.starts_with(&scratch))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.into_iter().find(|process| has_disk(process)).expect("a VM runs")
}

fn field(process: &Path, file: &str, name: &str) -> String {
    let text = fs::read_to_string(process.join(file)).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
}

fn namespace(process: &Path, kind: &str) -> PathBuf {
    fs::read_link(process.join("ns").join(kind)).unwrap()
}

/// What `pyro doctor` says of cgroups.
fn told_of_cgroup(home: &Home) -> String {
    let report = home.json(["doctor"]);
    str_of(check(&report, "cgroup").expect("it is checked"), "message").to_owned()
}

#[test]
fn qemu_has_no_rights_no_files_and_no_network() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    let id = home.workspace(&seed);
    let qemu = qemu(&home, &id);
    let own = Path::new("/proc/self");
    assert_eq!(field(&qemu, "status", "Seccomp:"), "2", "a system call filter");
    assert_eq!(field(&qemu, "status", "CapEff:"), "0000000000000000");
    assert_eq!(field(&qemu, "limits", "Max core file size"), "0 0 bytes");
    if is_root() {
        assert_eq!(field(&qemu, "status", "Uid:"), "65534 65534 65534 65534");
        assert_eq!(field(&qemu, "status", "Groups:"), "");
        assert!(field(&qemu, "status", "NSpid:").ends_with(" 1"), "it sees no other process");
        for kind in ["net", "ipc", "uts", "mnt", "pid"] {
            assert_ne!(namespace(&qemu, kind), namespace(own, kind), "{kind}");
        }
    }
    if !told_of_cgroup(&home).starts_with("pyro may make no cgroup") {
        let groups = fs::read_to_string(qemu.join("cgroup")).unwrap();
        let own = groups.lines().find(|line| line.starts_with("0::")).unwrap();
        assert!(own.contains("/pyro-"), "a cgroup of its own: {own}");
    }
    if namespace(&qemu, "mnt") != namespace(own, "mnt") {
        // mountinfo(5): the sixth field has the mount's own options.
        let mounts = fs::read_to_string(qemu.join("mountinfo")).unwrap();
        let options = |line: &str| line.split(' ').nth(5).unwrap_or_default().to_owned();
        let writable: Vec<_> =
            mounts.lines().filter(|line| !options(line).starts_with("ro")).collect();
        assert!(writable.is_empty(), "{writable:?}");
    }
    let largest =
        |limit: &str| field(&qemu, "limits", limit).split(' ').next().unwrap().parse::<u64>();
    assert!(largest("Max address space").unwrap() < 8 << 30);
    assert!(largest("Max file size").unwrap() <= 16 << 30);
    if namespace(&qemu, "net") != namespace(own, "net") {
        let devices = fs::read_to_string(qemu.join("net/dev")).unwrap();
        let names = devices.lines().skip(2).filter_map(|line| line.split(':').next());
        assert_eq!(names.map(str::trim).collect::<Vec<_>>(), ["lo"]);
    }
    // Only its own disk may be written to, and of the store and other workspaces nothing is open.
    let files = fs::read_dir(qemu.join("fd")).unwrap().flatten();
    let files: BTreeSet<PathBuf> =
        files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    let inside = files.iter().filter(|file| file.starts_with(home.path()));
    for file in inside {
        let image = file.starts_with(home.path().join("environments"));
        let initrd = file.starts_with(home.path().join("cache"));
        assert!(file.starts_with(dir_of(&home, &id)) || image || initrd, "{}", file.display());
    }

    let created = home.json(["workspace", "create", crate::support::ENVIRONMENT, "--network"]);
    let other = self::qemu(&home, str_of(&created, "workspace_id"));
    assert_eq!(namespace(&other, "net"), namespace(own, "net"), "its filter is outside QEMU");
    assert_eq!(field(&other, "status", "Seccomp:"), "2");
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
