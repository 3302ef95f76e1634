//! Where there are no cgroups: a namespace of its own for each command and shell marks whatever they
//! start. A process is born into its parent's namespaces, and leaves them only with rights that
//! commands do not have where marks are used (see `confine`).
//!
//! The mark is a cgroup namespace (cgroup_namespaces(7)): of all kinds the one that changes nothing
//! for those in it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::cgroup::Group;

/// Pause before killing those that were started during the last look.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The marks of all commands and shells.
#[derive(Debug, Clone, Default)]
pub struct Marks(Arc<Mutex<HashMap<Group, Mark>>>);

#[derive(Debug, Clone)]
struct Mark {
    /// Held open: while it is, no other namespace has its number.
    namespace: Arc<File>,
    /// Device and inode of the namespace.
    id: (u64, u64),
    /// Its program has ended.
    ended: bool,
}

impl Marks {
    /// Makes a mark; returns the namespace to join.
    pub fn create(&self, group: Group) -> io::Result<File> {
        // Namespaces belong to threads: this one's ends with it.
        let made = thread::Builder::new().name("mark".into()).spawn(|| {
            unshare(CloneFlags::CLONE_NEWCGROUP)?;
            File::open("/proc/thread-self/ns/cgroup")
        })?;
        let namespace = made.join().map_err(|_| io::Error::other("no mark was made"))??;
        let meta = namespace.metadata()?;
        let joined = namespace.try_clone()?;
        let id = (meta.dev(), meta.ino());
        self.0.lock().insert(group, Mark { namespace: Arc::new(namespace), id, ended: false });
        Ok(joined)
    }

    /// Kills everything that bears the group's mark, and what that starts meanwhile. Blocks.
    pub fn kill(&self, group: Group) {
        let Some(Mark { id, namespace, .. }) = self.0.lock().get(&group).cloned() else { return };
        loop {
            let bearers = bearers(id);
            if bearers.is_empty() {
                break;
            }
            for bearer in bearers {
                // Opened first, looked at again then: the number may be another's by now.
                let Ok(process) = rustix::process::pidfd_open(bearer, PidfdFlags::empty()) else {
                    continue;
                };
                if bears(bearer, id) {
                    // One that has ended needs no signal.
                    let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
                }
            }
            thread::sleep(LOOK_AGAIN);
        }
        drop(namespace);
    }

    /// Forgets the mark of a program that has ended, and those of earlier ones, as far as nothing
    /// bears them any more.
    pub fn sweep(&self, ended: Group) {
        let mut marks = self.0.lock();
        if let Some(mark) = marks.get_mut(&ended) {
            mark.ended = true;
        }
        marks.retain(|_, mark| !mark.ended || !bearers(mark.id).is_empty());
    }

    /// Whether something still ran with this mark when its program had ended.
    pub fn lingers(&self, group: Group) -> bool {
        self.0.lock().get(&group).is_some_and(|mark| mark.ended)
    }
}

/// Living processes in this namespace.
fn bearers(id: (u64, u64)) -> Vec<Pid> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw).filter(|pid| bears(*pid, id)).collect()
}

/// Whether a process is in this namespace. One that has ended is in none.
fn bears(pid: Pid, id: (u64, u64)) -> bool {
    let namespace = fs::metadata(format!("/proc/{}/ns/cgroup", pid.as_raw_nonzero()));
    namespace.is_ok_and(|meta| (meta.dev(), meta.ino()) == id)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn killing_reaches_whatever_bears_the_mark_and_nothing_else() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: making namespaces takes root");
            return;
        }
        let marks = Marks::default();
        let start = |group| {
            let namespace = marks.create(group).unwrap();
            // A child is born into the namespaces of the thread that starts it.
            let started = thread::spawn(move || {
                nix::sched::setns(namespace, CloneFlags::CLONE_NEWCGROUP).unwrap();
                let script = "(setsid sleep 1000 > /dev/null &); echo; exec sleep 1000";
                let mut command = Command::new("sh");
                command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap()
            });
            let mut child = started.join().unwrap();
            child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
            child
        };
        let (one, other) = (Group::Exec(1), Group::Exec(2));
        let (mut first, mut second) = (start(one), start(other));
        let count = |group| bearers(marks.0.lock()[&group].id).len();
        assert!(count(one) >= 2 && count(other) >= 2);
        marks.kill(one);
        assert_eq!(count(one), 0);
        assert!(!first.wait().unwrap().success());
        assert!(count(other) >= 2);

        // What a program left running keeps its mark, and can still be killed.
        marks.sweep(one);
        assert!(!marks.lingers(one));
        second.kill().unwrap();
        second.wait().unwrap();
        marks.sweep(other);
        assert!(marks.lingers(other));
        marks.kill(other);
        marks.sweep(other);
        assert!(!marks.lingers(other));
    }
}
