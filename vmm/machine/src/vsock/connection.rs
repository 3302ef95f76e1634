//! One stream between a host socket and a guest port: phases, credit, shutdown.

mod hello;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::packet::{MAX_PAYLOAD, Op, SHUTDOWN_BOTH, SHUTDOWN_RECV, SHUTDOWN_SEND};

pub(crate) use hello::{HELLO_MAX, Hello, parse_hello};

/// Bytes a guest may have on the way to one host socket; what Linux gives a vsock socket.
pub(crate) const BUFFER: u32 = 256 * 1024;

/// Both ports of a stream: with the two fixed CIDs, its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) host_port: u32,
    pub(crate) guest_port: u32,
}

/// Who opened the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Host,
    Guest,
}

/// Where a stream is in its life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A host client that has not finished its CONNECT line.
    Hello {
        line: Vec<u8>,
    },
    /// The guest is asked, or about to be.
    Requested,
    /// The guest asks, and nobody answers yet on the host.
    Dialing {
        give_up: Instant,
    },
    Open,
    /// Both directions are over and the guest knows; its RST is awaited.
    Lingering,
    /// The guest is gone; what it wrote is still on its way to the host.
    Draining,
}

/// The guest broke the protocol; its stream is reset.
#[derive(Debug)]
pub(crate) struct Violation;

/// A stream. All byte counts of credit are modulo 2^32, as on the wire.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) key: Key,
    pub(crate) origin: Origin,
    pub(crate) phase: Phase,
    pub(crate) socket: Option<OwnedFd>,
    /// In the queue of streams with something for the guest.
    pub(crate) queued: bool,
    pub(crate) deadline: Option<Instant>,
    pub(crate) owes_request: bool,
    pub(crate) owes_response: bool,
    owes_credit: bool,
    credit_asked: bool,
    readable: bool,
    writable: bool,
    /// The host will write no more.
    host_eof: bool,
    /// The host will read no more.
    host_deaf: bool,
    host_told_eof: bool,
    /// SHUTDOWN flags the guest sent, and those sent to it.
    guest_flags: u32,
    told: u32,
    /// Bytes that came with the CONNECT line.
    inbox: Vec<u8>,
    /// Bytes the host socket did not take yet; at most [`BUFFER`].
    outbox: VecDeque<u8>,
    sent: u32,
    guest_buffer: u32,
    guest_consumed: u32,
    received: u32,
    forwarded: u32,
    forwarded_told: u32,
}

impl Connection {
    pub(crate) fn new(
        key: Key,
        origin: Origin,
        phase: Phase,
        socket: Option<OwnedFd>,
    ) -> Connection {
        Connection {
            key,
            origin,
            phase,
            socket,
            queued: false,
            deadline: None,
            owes_request: false,
            owes_response: false,
            owes_credit: false,
            credit_asked: false,
            readable: false,
            writable: true,
            host_eof: false,
            host_deaf: false,
            host_told_eof: false,
            guest_flags: 0,
            told: 0,
            inbox: Vec::new(),
            outbox: VecDeque::new(),
            sent: 0,
            guest_buffer: 0,
            guest_consumed: 0,
            received: 0,
            forwarded: 0,
            forwarded_told: 0,
        }
    }

    /// Notes what the host socket reported.
    pub(crate) fn socket_event(&mut self, readable: bool, writable: bool, hung_up: bool) {
        self.readable |= readable || hung_up;
        self.writable |= writable;
        if hung_up {
            self.deafen();
        }
    }

    /// Takes over the credit fields that every packet of the guest carries.
    pub(crate) fn update_credit(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.guest_buffer = buf_alloc;
        self.guest_consumed = fwd_cnt;
        if self.credit() > 0 {
            self.credit_asked = false;
        }
    }

    /// Bytes the guest has room for.
    fn credit(&self) -> usize {
        let in_flight = self.sent.wrapping_sub(self.guest_consumed);
        self.guest_buffer.saturating_sub(in_flight) as usize
    }

    /// Bytes of the guest that may be accepted now.
    fn room(&self) -> u32 {
        BUFFER - self.received.wrapping_sub(self.forwarded)
    }

    /// Refuses data that the guest had no credit or no right to send.
    pub(crate) fn may_accept(&self, len: usize) -> Result<(), Violation> {
        let over = self.guest_flags & SHUTDOWN_SEND != 0;
        if over || len > self.room() as usize { Err(Violation) } else { Ok(()) }
    }

    /// Passes bytes from the guest to the host socket, or keeps what it does not take.
    /// `may_accept` has allowed them.
    pub(crate) fn accept(&mut self, mut payload: &[u8]) {
        self.received = self.received.wrapping_add(payload.len() as u32);
        while self.outbox.is_empty() && self.writable && !payload.is_empty() {
            match self.send_host(payload) {
                0 => break,
                count => payload = &payload[count..],
            }
        }
        if self.host_deaf {
            self.deafen();
        } else {
            self.outbox.extend(payload);
        }
    }

    /// Writes kept bytes for as long as the host socket takes them.
    pub(crate) fn flush(&mut self) {
        while self.writable && !self.outbox.is_empty() {
            let outbox = std::mem::take(&mut self.outbox);
            let count = self.send_host(outbox.as_slices().0);
            self.outbox = outbox;
            self.outbox.drain(..count);
            if self.host_deaf {
                self.deafen();
            }
        }
        if self.outbox.is_empty() {
            // Gives the memory of a burst back.
            self.outbox = VecDeque::new();
            let guest_done = self.guest_flags & SHUTDOWN_SEND != 0;
            if guest_done && !self.host_told_eof {
                self.host_told_eof = true;
                self.shut(Shutdown::Write);
            }
        }
    }

    /// One write to the host; 0 when the socket takes nothing now or ever.
    fn send_host(&mut self, bytes: &[u8]) -> usize {
        let Some(socket) = &self.socket else { return 0 };
        match send(socket, bytes) {
            Ok(count) => {
                self.forward(count as u32);
                count
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                0
            }
            Err(_) => {
                self.host_deaf = true;
                0
            }
        }
    }

    fn forward(&mut self, count: u32) {
        self.forwarded = self.forwarded.wrapping_add(count);
        // The guest is told when half of the buffer it believes to be full is free again.
        let believed_full = self.received.wrapping_sub(self.forwarded_told);
        if believed_full > BUFFER / 2 {
            self.owes_credit = true;
        }
    }

    /// Nobody on the host reads: what is kept is void.
    fn deafen(&mut self) {
        self.host_deaf = true;
        self.writable = false;
        self.outbox = VecDeque::new();
        let rest = self.received.wrapping_sub(self.forwarded);
        self.forward(rest);
    }

    /// Notes a SHUTDOWN of the guest.
    pub(crate) fn guest_shutdown(&mut self, flags: u32) {
        self.guest_flags |= flags & SHUTDOWN_BOTH;
        if self.guest_flags & SHUTDOWN_RECV != 0 {
            // The host writer learns it by EPIPE.
            self.shut(Shutdown::Read);
            self.readable = true;
            self.inbox = Vec::new();
        }
        self.flush();
    }

    /// Whether the guest ended both directions.
    pub(crate) fn guest_finished(&self) -> bool {
        self.guest_flags == SHUTDOWN_BOTH
    }

    /// Whether the guest was told that both directions are over.
    pub(crate) fn guest_told_all(&self) -> bool {
        self.told == SHUTDOWN_BOTH
    }

    /// Whether nothing of the guest is left to be written to the host.
    pub(crate) fn drained(&self) -> bool {
        self.outbox.is_empty()
    }

    fn shut(&self, how: Shutdown) {
        if let Some(socket) = &self.socket {
            // Fails only where the peer is gone, which the socket reports by itself.
            let _ = rustix::net::shutdown(socket, how);
        }
    }

    /// Whether `produce` may have a packet.
    pub(crate) fn has_work(&self) -> bool {
        if self.owes_request || self.owes_response {
            return true;
        }
        self.phase == Phase::Open
            && (self.owes_credit
                || self.due_shutdown() & !self.told != 0
                || self.has_input() && (self.credit() > 0 || !self.credit_asked))
    }

    fn has_input(&self) -> bool {
        !self.inbox.is_empty() || self.readable && !self.host_eof
    }

    fn due_shutdown(&self) -> u32 {
        let send = if self.host_eof && self.inbox.is_empty() { SHUTDOWN_SEND } else { 0 };
        let recv = if self.host_deaf { SHUTDOWN_RECV } else { 0 };
        send | recv
    }

    /// The next packet for the guest: operation, flags and payload length, with the payload in
    /// `scratch`. `space` is what the guest's buffer holds beyond the header.
    pub(crate) fn produce(&mut self, scratch: &mut [u8], space: usize) -> Option<(Op, u32, usize)> {
        if std::mem::take(&mut self.owes_request) {
            return Some((Op::Request, 0, 0));
        }
        if std::mem::take(&mut self.owes_response) {
            return Some((Op::Response, 0, 0));
        }
        if self.phase != Phase::Open {
            return None;
        }
        let count = self.read_host(scratch, space);
        if count > 0 {
            return Some((Op::Data, 0, count));
        }
        if self.due_shutdown() & !self.told != 0 {
            self.told |= self.due_shutdown();
            return Some((Op::Shutdown, self.told, 0));
        }
        if self.has_input() && self.credit() == 0 && !self.credit_asked {
            self.credit_asked = true;
            return Some((Op::CreditRequest, 0, 0));
        }
        self.owes_credit.then_some((Op::CreditUpdate, 0, 0))
    }

    /// Credit fields of a packet to the guest; sending them settles a credit update.
    pub(crate) fn tell_credit(&mut self) -> (u32, u32) {
        self.owes_credit = false;
        self.forwarded_told = self.forwarded;
        (BUFFER, self.forwarded)
    }

    /// Asks for a credit update to be sent.
    pub(crate) fn owe_credit(&mut self) {
        self.owes_credit = true;
    }

    fn read_host(&mut self, scratch: &mut [u8], space: usize) -> usize {
        if self.guest_flags & SHUTDOWN_RECV != 0 {
            while self.read_socket(scratch) > 0 {}
            return 0;
        }
        let limit = space.min(self.credit()).min(MAX_PAYLOAD).min(scratch.len());
        if limit == 0 {
            return 0;
        }
        let count = if self.inbox.is_empty() {
            self.read_socket(&mut scratch[..limit])
        } else {
            let count = limit.min(self.inbox.len());
            scratch[..count].copy_from_slice(&self.inbox[..count]);
            self.inbox.drain(..count);
            count
        };
        self.sent = self.sent.wrapping_add(count as u32);
        count
    }

    fn read_socket(&mut self, into: &mut [u8]) -> usize {
        let Some(socket) = &self.socket else { return 0 };
        if !self.readable || self.host_eof {
            return 0;
        }
        match recv(socket, into) {
            Ok(0) => {
                self.host_eof = true;
                0
            }
            Ok(count) => count,
            Err(Errno::AGAIN) => {
                self.readable = false;
                0
            }
            Err(_) => {
                self.host_eof = true;
                self.deafen();
                0
            }
        }
    }
}

fn recv(socket: &OwnedFd, into: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *into, RecvFlags::DONTWAIT))
        .map(|(count, _)| count)
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::send(socket, bytes, flags))
}
