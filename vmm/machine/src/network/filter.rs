//! Moves frames between the guest's card and slirp, those that may pass.
//!
//! On both sockets each frame is preceded by its length, four bytes, big-endian: QEMU's framing for
//! stream sockets. A side that does not read is not read from either, so that what waits is bounded
//! and QEMU slows the sender down.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};

use super::host::OwnAddresses;
use super::policy::{self, Verdict};
use super::refusal;

/// Largest frame that QEMU sends (its `NET_BUFSIZE`); beyond that the stream makes no sense.
const MAX_LENGTH: usize = 68 * 1024;
/// Bytes read at a time.
const READ: usize = 64 * 1024;
/// Bytes that may wait for a reader before the other side is no longer read.
const WAITING: usize = 256 * 1024;

pub(super) struct Filter {
    guest: End,
    slirp: End,
    own: OwnAddresses,
}

/// One of the two streams.
struct End {
    stream: UnixStream,
    /// Read; begins with a length.
    inbox: Vec<u8>,
    /// To be written.
    outbox: Vec<u8>,
}

impl Filter {
    pub(super) fn new(guest: UnixStream, slirp: UnixStream, own: OwnAddresses) -> io::Result<Self> {
        Ok(Self { guest: End::new(guest)?, slirp: End::new(slirp)?, own })
    }

    /// Until one of the streams ends.
    pub(super) fn run(&mut self) -> io::Result<()> {
        loop {
            let mut fds = [self.guest.interest(&self.slirp), self.slirp.interest(&self.guest)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [guest, slirp] = fds.map(|fd| !fd.revents().is_empty());
            if (guest && !self.guest.serve(&self.slirp)?)
                || (slirp && !self.slirp.serve(&self.guest)?)
            {
                return Ok(());
            }
            self.judge()?;
            self.guest.write()?;
            self.slirp.write()?;
        }
    }

    /// Passes on what may pass of what has been read.
    fn judge(&mut self) -> io::Result<()> {
        let own = self.own.now();
        let (guest, slirp) = (&mut self.guest, &mut self.slirp);
        let End { inbox, outbox, .. } = guest;
        each_frame(inbox, |frame| match policy::from_guest(frame, own) {
            Verdict::Pass => push(&mut slirp.outbox, frame),
            // A guest that does not read its answers does without.
            Verdict::Refuse if outbox.len() < WAITING => {
                if let Some(answer) = refusal::answer(frame) {
                    push(outbox, &answer);
                }
            }
            Verdict::Refuse | Verdict::Drop => {}
        })?;
        each_frame(&mut slirp.inbox, |frame| {
            if policy::to_guest(frame, own) {
                push(&mut guest.outbox, frame);
            }
        })
    }
}

impl End {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, inbox: Vec::new(), outbox: Vec::new() })
    }

    /// What to wait for: space for what waits, and input if `other` takes it.
    fn interest<'a>(&'a self, other: &End) -> PollFd<'a> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::OUT, !self.outbox.is_empty());
        flags.set(PollFlags::IN, other.takes_more());
        PollFd::new(&self.stream, flags)
    }

    fn takes_more(&self) -> bool {
        self.outbox.len() < WAITING
    }

    /// Writes and reads what can be; whether the stream goes on.
    fn serve(&mut self, other: &End) -> io::Result<bool> {
        self.write()?;
        if !other.takes_more() {
            return Ok(true);
        }
        let had = self.inbox.len();
        self.inbox.resize(had + READ, 0);
        let count = self.stream.read(&mut self.inbox[had..]);
        self.inbox.truncate(had + *count.as_ref().unwrap_or(&0));
        match count {
            Ok(count) => Ok(count > 0),
            Err(error) if is_for_later(&error) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        match self.stream.write(&self.outbox) {
            Ok(count) => {
                self.outbox.drain(..count);
                Ok(())
            }
            // That the stream has ended is for the next read to say.
            Err(error) if is_for_later(&error) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.outbox.clear();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn push(outbox: &mut Vec<u8>, frame: &[u8]) {
    outbox.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    outbox.extend_from_slice(frame);
}

/// Calls `take` with each frame that is complete and removes it; an error if a length makes no sense.
fn each_frame(inbox: &mut Vec<u8>, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut at = 0;
    while let Some((length, rest)) = inbox[at..].split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_LENGTH {
            return Err(io::Error::other(format!("QEMU sent a frame of {length} bytes")));
        }
        let Some(frame) = rest.get(..length) else { break };
        take(frame);
        at += 4 + length;
    }
    inbox.drain(..at);
    Ok(())
}
