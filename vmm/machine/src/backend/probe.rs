//! Whether KVM really runs a guest here. That `/dev/kvm` opens proves nothing: under some nested
//! hypervisors a virtual machine is created, runs, and never executes its kernel.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::process::boot_id;
use crate::{Error, Result, records};

use super::program::qemu_facts;
use super::qemu::{Accel, CommandLine};

/// The kernel says something within this time, or KVM does not run it.
const FIRST_BYTE: Duration = Duration::from_secs(5);
/// And it reaches its end, which without a root is a panic, within this time.
const WHOLE_BOOT: Duration = Duration::from_secs(20);
/// The kernel is up: it starts the first program or misses it.
const UP: [&[u8]; 3] = [b"Run /init", b"Kernel panic", b"No working init"];
const CACHE: &str = "kvm-verdict.json";

/// What was found of KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kvm {
    /// A guest boots.
    Works,
    /// There is no `/dev/kvm`.
    NoDevice,
    /// This user may not open it.
    NoPermission,
    /// It cannot be opened for another reason.
    Unopenable,
    /// It opens, and QEMU gives up.
    Refused,
    /// A virtual machine is made, and its kernel never says a word.
    Silent,
    /// A guest's kernel starts, and hangs.
    Stuck,
}

/// Whether KVM can be used, and why or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was found.
    pub found: Kvm,
    /// The finding in a few words.
    pub reason: String,
}

impl Verdict {
    /// Whether a guest really boots.
    pub fn usable(&self) -> bool {
        self.found == Kvm::Works
    }
}

/// A verdict holds for one boot of the host, one QEMU and one kernel.
#[derive(Serialize, Deserialize)]
struct CachedVerdict {
    key: String,
    verdict: Verdict,
}

/// Boots `kernel` under KVM to see whether it works, or takes the finding from `cache_dir`.
/// Takes up to five seconds the first time where KVM is broken.
///
/// # Errors
/// Without QEMU, or where the kernel or the cache cannot be read or written; a KVM that does not
/// work is a verdict.
pub async fn probe_kvm(kernel: &Path, initrd: Option<&Path>, cache_dir: &Path) -> Result<Verdict> {
    let kernel = kernel.to_owned();
    let initrd = initrd.map(Path::to_owned);
    let cache_dir = cache_dir.to_owned();
    let probing = tokio::task::spawn_blocking(move || {
        let key = cache_key(&kernel)?;
        let cached = records::read::<CachedVerdict>(&cache_dir, CACHE);
        // A damaged cache is worth no more than none.
        if let Ok(Some(cached)) = cached
            && cached.key == key
        {
            return Ok(cached.verdict);
        }
        let verdict = boot_once(&kernel, initrd.as_deref())?;
        fs::create_dir_all(&cache_dir).map_err(Error::io("create", &cache_dir))?;
        records::write(&cache_dir, CACHE, &CachedVerdict { key, verdict: verdict.clone() })?;
        Ok(verdict)
    });
    probing.await.unwrap_or_else(|error| {
        Err(Error::io("probe", "/dev/kvm")(io::Error::other(error.to_string())))
    })
}

fn cache_key(kernel: &Path) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let boot = boot_id().map_err(Error::io("read", "/proc/sys/kernel/random/boot_id"))?;
    let facts = qemu_facts()?;
    let meta = kernel.metadata().map_err(Error::io("open", kernel))?;
    // Whether the device may be opened is part of the key: a user joins a group, and it changes.
    let access = open_kvm().is_ok();
    Ok(format!(
        "{boot} {} {access} {}:{}:{}:{}",
        facts.version,
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime_nsec()
    ))
}

fn open_kvm() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/kvm")
}

/// Why the device does not open.
fn unopened(error: &io::Error) -> Kvm {
    match error.kind() {
        io::ErrorKind::NotFound => Kvm::NoDevice,
        io::ErrorKind::PermissionDenied => Kvm::NoPermission,
        // The name is there, and nothing behind it.
        _ if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => Kvm::NoDevice,
        _ => Kvm::Unopenable,
    }
}

fn boot_once(kernel: &Path, initrd: Option<&Path>) -> Result<Verdict> {
    let unusable = |found, reason: String| Ok(Verdict { found, reason });
    if let Err(error) = open_kvm() {
        return unusable(unopened(&error), format!("/dev/kvm cannot be opened: {error}"));
    }
    let mut line = CommandLine::new(Accel::Kvm, 1, 256)?;
    let words = ["ignore_loglevel".to_owned(), "earlyprintk=serial,ttyS0,115200".to_owned()];
    line.kernel(kernel, initrd, &words)?;
    let console = line.console().map_err(Error::io("make a console for", kernel))?;
    let mut child = Reaped(line.spawn(None)?);
    let outcome = watch(console, FIRST_BYTE, WHOLE_BOOT);
    let complaint = child.end();
    match outcome {
        Outcome::Up => Ok(Verdict { found: Kvm::Works, reason: "a guest boots".to_owned() }),
        Outcome::Silent => unusable(
            Kvm::Silent,
            "/dev/kvm opens, but the guest's kernel printed nothing for five seconds".to_owned(),
        ),
        Outcome::Stuck => {
            unusable(Kvm::Stuck, "the guest's kernel started and then hung".to_owned())
        }
        Outcome::Ended => {
            let first = complaint.lines().next().unwrap_or("it says nothing");
            unusable(Kvm::Refused, format!("/dev/kvm opens, but QEMU gave up: {first}"))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Up,
    Silent,
    Stuck,
    Ended,
}

/// Reads the console until the kernel is up. `first_byte` bounds the silence at the beginning,
/// `whole_boot` all of it.
fn watch(mut console: UnixStream, first_byte: Duration, whole_boot: Duration) -> Outcome {
    let start = Instant::now();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let limit = if seen.is_empty() { first_byte } else { whole_boot };
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() || console.set_read_timeout(Some(left)).is_err() {
            return if seen.is_empty() { Outcome::Silent } else { Outcome::Stuck };
        }
        match console.read(&mut buffer) {
            Ok(0) => return Outcome::Ended,
            // The firmware may print; a kernel's boot stays well below this.
            Ok(_) if seen.len() > 1 << 20 => return Outcome::Stuck,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Outcome::Ended,
        }
        if UP.iter().any(|mark| seen.windows(mark.len()).any(|part| part == *mark)) {
            return Outcome::Up;
        }
    }
}

/// A child that is gone when the probe is.
struct Reaped(Child);

impl Reaped {
    /// Ends the child; its last words.
    fn end(&mut self) -> String {
        let _ = self.0.kill();
        let stderr = self.0.stderr.take();
        let words = stderr.map(|from| crate::console::complaints(from, io::sink()));
        let _ = self.0.wait();
        words.unwrap_or_default()
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_device_that_is_missing_is_told_from_one_that_is_not_for_this_user() {
        let found = |errno| unopened(&io::Error::from_raw_os_error(errno));
        assert_eq!(found(libc::ENOENT), Kvm::NoDevice);
        assert_eq!(found(libc::ENXIO), Kvm::NoDevice);
        assert_eq!(found(libc::EACCES), Kvm::NoPermission);
        assert_eq!(found(libc::EBUSY), Kvm::Unopenable);
    }

    #[test]
    fn a_kernel_that_says_nothing_is_silent() {
        let (console, _guest) = UnixStream::pair().unwrap();
        assert_eq!(watch(console, SHORT, LONG), Outcome::Silent);
    }

    #[test]
    fn a_kernel_that_stops_on_its_way_is_stuck() {
        let (console, mut guest) = UnixStream::pair().unwrap();
        guest.write_all(b"Linux version 6.1\n").unwrap();
        assert_eq!(watch(console, LONG, SHORT), Outcome::Stuck);
    }

    #[test]
    fn a_kernel_that_reaches_the_missing_root_is_up() {
        let (console, mut guest) = UnixStream::pair().unwrap();
        guest.write_all(b"Linux version 6.1\nKernel pa").unwrap();
        guest.write_all(b"nic - not syncing: VFS: Unable to mount root fs").unwrap();
        assert_eq!(watch(console, LONG, LONG), Outcome::Up);
    }

    #[test]
    fn a_vmm_that_gives_up_has_ended() {
        let (console, guest) = UnixStream::pair().unwrap();
        drop(guest);
        assert_eq!(watch(console, LONG, LONG), Outcome::Ended);
    }
}
