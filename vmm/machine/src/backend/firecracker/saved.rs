//! Machines that are saved and restored: a guest that has booted begins again, any number of times.
//!
//! What is saved names its disks and sockets as it was given them, so those names are relative to where
//! Firecracker works: elsewhere they are other files. Two that are restored from one share their memory's
//! content, what it has of randomness and of the time among it: whoever resumes a guest sees to that.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use rustix::fs::FallocateFlags;
use rustix::process::{getegid, geteuid};

use super::client::Client;
use super::jail::Jail;
use super::{API, api};
use crate::vsock::SocketDir;
use crate::{Error, MachineSpec, Result, records};

/// Its devices and registers.
pub(super) const STATE: &str = "saved.state";
/// Its memory.
pub(super) const MEMORY: &str = "saved.memory";
/// How long it may take to write the memory.
const WRITE: Duration = Duration::from_secs(120);
/// Bytes of memory that are looked at together: where all are zero there will be a hole.
const BLOCK: usize = 64 << 10;

/// Pauses the machine in `dir` for good and saves it in the directory `into`.
pub(crate) fn save(dir: &Path, into: &Path) -> Result<()> {
    let inside = Jail::root_in(dir)?.unwrap_or_else(|| dir.to_owned());
    let sockets = SocketDir::open(&inside).map_err(Error::io("open", &inside))?;
    let socket = sockets.connect(API).map_err(Error::io("connect to", inside.join(API)))?;
    let mut client = Client::over(socket)?;
    client.send(&api::pause())?;
    client.send_within(WRITE, &api::save())?;
    for name in [STATE, MEMORY] {
        let saved = into.join(name);
        fs::rename(inside.join(name), &saved).map_err(Error::io("move", &saved))?;
        // Whoever took Firecracker over may have put a link here.
        let kind = fs::symlink_metadata(&saved).map_err(Error::io("open", &saved))?.file_type();
        if !kind.is_file() {
            return Err(Error::io("open", &saved)(io::Error::other("it is no file")));
        }
        // The jails of others are to read it, and its own no longer to write it; nobody else reaches the
        // directory.
        let own = (geteuid().as_raw(), getegid().as_raw());
        chown(&saved, Some(own.0), Some(own.1))
            .and_then(|()| fs::set_permissions(&saved, fs::Permissions::from_mode(0o644)))
            .map_err(Error::io("take over", &saved))?;
    }
    let memory = into.join(MEMORY);
    dig_holes(&memory).map_err(Error::io("write", &memory))
}

/// The specification as a machine that works in `dir`, without a jail, is given it: with its scratch disk
/// named from there, if it is there. Puts the files of a machine that is restored there until it has read them.
pub(super) fn lay_out(spec: &MachineSpec, dir: &Path) -> Result<MachineSpec> {
    let mut inside = spec.clone();
    if let Ok(name) = spec.scratch.strip_prefix(dir) {
        inside.scratch = name.to_owned();
    }
    if let Some(saved) = &spec.restore {
        for name in [STATE, MEMORY] {
            let file = saved.join(name);
            fs::hard_link(&file, dir.join(name)).map_err(Error::io("link", &file))?;
        }
    }
    Ok(inside)
}

/// Removes what was laid out: the memory that a machine uses it has mapped.
pub(super) fn tidy(dir: &Path) -> Result<()> {
    [STATE, MEMORY].into_iter().try_for_each(|name| records::remove(dir, name))
}

/// Gives back the blocks that hold nothing but zeros: most of a memory that was hardly used.
fn dig_holes(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    while at < length {
        let len = BLOCK.min(usize::try_from(length - at).unwrap_or(BLOCK));
        file.read_exact_at(&mut block[..len], at)?;
        if block[..len].iter().all(|byte| *byte == 0) {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match rustix::fs::fallocate(&file, hole, at, len as u64) {
                // A file system that has no holes.
                Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
                dug => dug?,
            }
        }
        at += len as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_become_holes_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let mut bytes = vec![0; 8 * BLOCK + 100];
        bytes[3 * BLOCK] = 7;
        bytes[8 * BLOCK + 99] = 9;
        fs::write(&path, &bytes).unwrap();
        dig_holes(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 <= 3 * BLOCK as u64);
    }
}
