//! A cgroup of the host for a machine, where pyro's owner may make one (cgroups(7), "delegation"; the
//! kernel's `cgroup-v2.rst`): it bounds what the machine uses up, and a sandbox's commands are frozen
//! and killed by it. Version 2 alone has what that takes.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::Access;

use super::program::find;
use crate::{Error, Result, records, sys};

/// How long killed processes may take to leave.
const LEAVE: Duration = Duration::from_secs(2);
/// Pause between two looks, for nothing says when the last one has left.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What the processes of a machine may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of memory, page cache among them.
    pub(super) memory: u64,
    /// Processes and threads.
    pub(super) tasks: u64,
    /// Processors that they may keep busy.
    pub(super) cpus: u32,
}

impl Limits {
    /// Period over which the use of processors is measured, in microseconds: the kernel's default.
    const PERIOD: u64 = 100_000;

    /// Each by the file that sets it. Input and output have a weight, half the default, for want of a
    /// rate that suits every disk.
    fn settings(self) -> [(&'static str, String); 4] {
        let quota = u64::from(self.cpus) * Self::PERIOD;
        [
            ("memory.max", self.memory.to_string()),
            ("pids.max", self.tasks.to_string()),
            ("cpu.max", format!("{quota} {}", Self::PERIOD)),
            ("io.weight", "default 50".to_owned()),
        ]
    }
}

/// The resources that are bounded where the host lets pyro do so.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// What a cgroup can do on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupFacts {
    /// One can be made, so that commands of a sandbox are frozen and killed by it.
    pub usable: bool,
    /// The resources that it bounds, of `memory`, `pids`, `cpu` and `io`.
    pub bounds: Vec<&'static str>,
}

/// What a cgroup can do on this host, tried for real.
pub fn cgroup_facts() -> CgroupFacts {
    let made = Cgroup::make_named(&format!("pyro-trial-{}", std::process::id()));
    let bounds = made.as_ref().map(Cgroup::controllers);
    CgroupFacts { usable: made.is_some(), bounds: bounds.unwrap_or_default() }
}

/// A cgroup, removed when dropped.
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one for the machine in `dir`, with those of the limits that it can keep; `None` where
    /// that cannot be, which is nothing unusual.
    pub(super) fn make(dir: &Path, limits: Limits) -> Result<Option<Cgroup>> {
        let Some(cgroup) = Self::make_named(&format!("pyro-{}", std::process::id())) else {
            return Ok(None);
        };
        // For whoever finds that the shim was killed.
        records::write(dir, records::CGROUP, &cgroup.0)?;
        for (name, value) in limits.settings() {
            let path = cgroup.0.join(name);
            let set = |mut file: fs::File| file.write_all(value.as_bytes());
            match fs::File::options().write(true).open(&path).and_then(set) {
                // Where its controller is missing there is no such file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.map_err(Error::io("set", path))?,
            }
        }
        Ok(Some(cgroup))
    }

    /// Below pyro's own, or beside it, where more is bounded: a cgroup with processes, as pyro's own is,
    /// divides nothing among those below, unless it is the topmost.
    fn make_named(name: &str) -> Option<Cgroup> {
        let own = own()?;
        let divide = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
        let _ = fs::write(own.join("cgroup.subtree_control"), divide);
        let parents = own.parent().into_iter().chain([&*own]);
        let made = parents.filter_map(|parent| Self::make_in(parent, name));
        made.max_by_key(|cgroup| cgroup.controllers().len())
    }

    fn make_in(parent: &Path, name: &str) -> Option<Cgroup> {
        // Who moves a process must be allowed to write there, in the lowest cgroup that holds both ends.
        rustix::fs::access(parent.join("cgroup.procs"), Access::WRITE_OK).ok()?;
        let path = parent.join(name);
        fs::create_dir(&path).ok()?;
        let cgroup = Cgroup(path);
        // `cgroup.kill` is there since Linux 5.14; what it takes to freeze is older.
        let complete = cgroup.0.join("cgroup.kill").exists();
        let usable = complete && cgroup.read("cgroup.type").trim() == "domain";
        (usable && cgroup.can_be_joined()).then_some(cgroup)
    }

    /// Whether a process can be moved there, tried with one: rules differ (delegation, namespaces), and a
    /// machine that could not be moved would not start.
    fn can_be_joined(&self) -> bool {
        let (Some(program), Ok(procs)) = (find("true"), self.procs()) else { return false };
        let mut trial = Command::new(program);
        trial.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::bind_child(&mut trial, Vec::new(), None, Some(procs));
        trial.status().is_ok_and(|status| status.success())
    }

    /// The resources that it bounds.
    fn controllers(&self) -> Vec<&'static str> {
        let there = self.read("cgroup.controllers");
        let there = |name: &&str| there.split_whitespace().any(|it| it == *name);
        CONTROLLERS.into_iter().filter(there).collect()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Its `cgroup.procs`, open for writing.
    pub(super) fn procs(&self) -> io::Result<OwnedFd> {
        let file = fs::File::options().write(true).open(self.0.join("cgroup.procs"));
        file.map(OwnedFd::from)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What cannot be removed now goes with the machine's next stop.
        let _ = remove(&self.0);
    }
}

/// Removes the cgroup of a machine whose shim was killed, and its record.
pub(crate) fn remove_left(dir: &Path) -> Result<()> {
    if let Some(path) = records::read::<PathBuf>(dir, records::CGROUP)? {
        remove(&path).map_err(crate::Error::io("remove", &path))?;
        records::remove(dir, records::CGROUP)?;
    }
    Ok(())
}

/// Kills whoever is in a cgroup and removes it with those below.
fn remove(path: &Path) -> io::Result<()> {
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let deadline = Instant::now() + LEAVE;
    loop {
        match remove_once(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
            other => return other,
        }
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_once(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// The directory of the cgroup that this process is in.
fn own() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    Some(mount_point(&mounts)?.join(own_path(&groups)?))
}

/// Where the whole of the cgroup2 file system is mounted (proc(5), `mountinfo`).
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let plain = kind.starts_with("cgroup2 ") && root == "/" && !at.contains('\\');
        plain.then(|| at.into())
    })
}

/// The path below it (cgroups(7), `/proc/PID/cgroup`).
fn own_path(groups: &str) -> Option<&Path> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let outside = path.split('/').any(|part| part == "..");
    (!outside).then(|| Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_in_mixed_hierarchies() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      31 30 0:27 /part /other rw shared:9 - cgroup2 cgroup2 rw\n\
                      32 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("30 29 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"), None);
        let groups = "2:cpu:/x\n0::/user.slice/a.scope\n";
        assert_eq!(own_path(groups), Some(Path::new("user.slice/a.scope")));
        assert_eq!(own_path("0::/\n"), Some(Path::new("")));
        assert_eq!(own_path("0::/../other\n"), None);
        assert_eq!(own_path("2:cpu:/x\n"), None);
    }

    #[test]
    fn one_that_was_made_goes_with_its_value_or_by_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { memory: 64 << 20, tasks: 16, cpus: 1 };
        let Some(cgroup) = Cgroup::make(dir.path(), limits).unwrap() else {
            eprintln!("skipped: no cgroup v2 can be made here");
            return;
        };
        let path = cgroup.path().to_owned();
        fs::create_dir(path.join("below")).unwrap();
        std::mem::forget(cgroup);
        remove_left(dir.path()).unwrap();
        assert!(!path.exists());
        remove_left(dir.path()).unwrap();
        drop(Cgroup::make(dir.path(), limits).unwrap());
        assert!(!path.exists());
        remove_left(dir.path()).unwrap();
    }

    #[test]
    fn what_is_in_one_stays_within_its_limits() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { memory: 64 << 20, tasks: 16, cpus: 1 };
        let cgroup = Cgroup::make(dir.path(), limits).unwrap();
        let bounds = cgroup.as_ref().map(Cgroup::controllers).unwrap_or_default();
        let (Some(cgroup), true) = (cgroup, bounds.contains(&"memory") && bounds.contains(&"pids"))
        else {
            eprintln!("skipped: no cgroup v2 with controllers can be made here ({bounds:?})");
            return;
        };
        let run = |script: &str| {
            let join = format!("echo 0 > {}/cgroup.procs; {script}", cgroup.path().display());
            Command::new("sh").args(["-c", &join]).output().unwrap()
        };
        let forks = "for i in $(seq 40); do sleep 1000 > /dev/null 2>&1 & done; wait";
        assert!(!run(forks).status.success());
        fs::write(cgroup.path().join("cgroup.kill"), "1").unwrap();
        let hog = "exec dd if=/dev/zero of=/dev/null bs=200M count=1";
        assert!(!run(hog).status.success(), "a memory hog is killed");
        assert!(run("exec dd if=/dev/zero of=/dev/null bs=1M count=1").status.success());
    }
}
