//! The agent's end of a pseudo-terminal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use pyro_proto::TerminalSize;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{
    InputModes, OptionalActions, Winsize, tcgetattr, tcgetpgrp, tcsetattr, tcsetwinsize,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::error::{Doing, Result};
use crate::sys;

/// A full terminal is tried again after so long: the kernel makes room in the background, possibly
/// after it has said that there is some.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// A terminal that a program uses.
#[derive(Debug)]
pub struct Terminal {
    master: AsyncFd<OwnedFd>,
}

impl Terminal {
    /// Opens a terminal of the devpts `pts`; returns the program's end too.
    pub fn open(pts: BorrowedFd<'_>, size: TerminalSize) -> Result<(Self, OwnedFd)> {
        let opened = || -> io::Result<_> {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let master = openat(pts, c"ptmx", flags, Mode::empty())?;
            unlockpt(&master)?;
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let program = ioctl_tiocgptpeer(&master, flags)?;
            let mut modes = tcgetattr(&program)?;
            // Erasing takes back a whole character, not its last byte.
            modes.input_modes |= InputModes::IUTF8;
            tcsetattr(&program, OptionalActions::Now, &modes)?;
            Ok((Self { master: sys::watched(master)? }, program))
        };
        let (terminal, program) = opened().doing(|| "open a terminal".into())?;
        terminal.resize(size).doing(|| "set the size of a terminal".into())?;
        Ok((terminal, program))
    }

    /// Changes its size; whoever is in its foreground gets a SIGWINCH.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let TerminalSize { cols, rows } = size;
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.master.get_ref(), size)?)
    }

    /// The process group in its foreground, if there is one.
    pub fn foreground(&self) -> Option<i32> {
        tcgetpgrp(self.master.get_ref()).ok().map(|pid| pid.as_raw_nonzero().get())
    }

    /// Reads what was printed. An error when no program has the terminal open.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = |master: &OwnedFd| Ok(rustix::io::read(master.as_fd(), &mut *buffer)?);
        self.master.async_io(Interest::READABLE, read).await
    }

    /// Types the beginning of `data`; how many bytes of it. Waits while the terminal is full.
    pub async fn write(&self, data: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self.master.get_ref(), data) {
                Ok(0) | Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => continue,
                written => return Ok(written?),
            }
            if let Ok(room) = timeout(TRY_AGAIN, self.master.writable()).await {
                room?.clear_ready();
            }
        }
    }
}
