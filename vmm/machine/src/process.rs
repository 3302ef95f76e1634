//! Which process it is, beyond a number that may be reused.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

/// A process of this boot: no other one has both numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Clock ticks from boot to the start of the process (`/proc/PID/stat`, field 22).
    pub(crate) start_time: u64,
}

impl ProcessId {
    /// Identifies a live process.
    pub(crate) fn of(pid: i32) -> io::Result<ProcessId> {
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        match parse_stat(&stat) {
            Some((state, start_time)) if !matches!(state, b'Z' | b'X') => {
                Ok(ProcessId { pid, start_time })
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether it still runs; a zombie does not.
    pub(crate) fn is_alive(&self) -> bool {
        ProcessId::of(self.pid).is_ok_and(|found| found == *self)
    }

    /// A descriptor of this very process, or `None` if it has ended. It becomes readable when
    /// the process ends.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty());
        // Checked after opening: from here on the number cannot be reused under the descriptor.
        pidfd.ok().filter(|_| self.is_alive())
    }
}

/// State letter and start time. The command name, in parentheses, may hold anything.
fn parse_stat(stat: &[u8]) -> Option<(u8, u64)> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?.bytes().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The id of this boot of the host.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_and_a_reused_number_is_not() {
        let me = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        let other = ProcessId { start_time: me.start_time + 1, ..me };
        assert!(!other.is_alive());
        assert!(other.open().is_none());
    }

    #[test]
    fn a_zombie_counts_as_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = child.id() as i32;
        let pidfd =
            rustix::process::pidfd_open(Pid::from_raw(id).unwrap(), PidfdFlags::empty()).unwrap();
        let mut ended = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut ended, None).unwrap();
        assert!(ProcessId::of(id).is_err());
        child.wait().unwrap();
    }

    #[test]
    fn odd_command_names_do_not_confuse_the_parser() {
        let stat = b"7 (a) R 1 (b)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(stat), Some((b'S', 4242)));
        assert_eq!(parse_stat(b"7 (x"), None);
    }
}
