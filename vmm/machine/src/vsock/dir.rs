//! Unix sockets inside a machine's directory, however long its path is.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// An open directory whose sockets are named through `/proc/self/fd`, because `sun_path` holds
/// 108 bytes and a home directory may be longer.
#[derive(Debug)]
pub(crate) struct SocketDir(OwnedFd);

impl SocketDir {
    /// Opens the directory.
    pub(crate) fn open(dir: &Path) -> io::Result<SocketDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(SocketDir(rustix::fs::open(dir, flags, Mode::empty())?))
    }

    /// A path to `name` short enough for a socket address; good while `self` lives.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }

    /// Listens on `name`. The socket appears by rename, so a stale one is replaced without a
    /// moment in which nobody listens.
    pub(crate) fn listen(&self, name: &str) -> io::Result<UnixListener> {
        let fresh = format!("{name}.{}", std::process::id());
        self.remove(&fresh)?;
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(self.path(&fresh))?)?;
        let listening = rustix::net::listen(&socket, 4096)
            .and_then(|()| rustix::fs::renameat(&self.0, &fresh, &self.0, name));
        if let Err(error) = listening {
            self.remove(&fresh)?;
            return Err(error.into());
        }
        Ok(UnixListener::from(socket))
    }

    /// Connects to `name`, which must be a socket and no link to one, without blocking. A full backlog is
    /// `WouldBlock`.
    pub(crate) fn connect(&self, name: &str) -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        // A link itself is no socket, and refuses the connection.
        let path = format!("/proc/self/fd/{}", there.as_raw_fd());
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    }

    /// Removes `name` if it is there.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name.as_ref(), AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
