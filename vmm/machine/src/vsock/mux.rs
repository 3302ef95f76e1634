//! The table of all streams: host sockets on one side, packets on the other.

mod host;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::time::{TimerfdClockId, TimerfdFlags};

use super::connection::{Connection, Key, Origin, Phase};
use super::dir::SocketDir;
use super::packet::{HOST_CID, Header, MAX_PAYLOAD, Op, TYPE_STREAM};

/// The guest's context id.
pub(crate) const GUEST_CID: u64 = 3;
/// Name of the socket host clients connect to.
pub(crate) const SOCKET: &str = "vsock";

/// Streams opened by host clients; more wait in the listener's backlog.
pub(crate) const MAX_HOST: usize = 1024;
/// Streams opened by the guest; more are reset, so that a guest cannot lock the host out.
pub(crate) const MAX_GUEST: usize = 512;
/// Resets that belong to no stream. While this many wait, the guest's packets are left alone.
const MAX_RESETS: usize = 256;

/// How long a client may take for its CONNECT line, and the guest for its answer.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the guest may take to confirm a close (Linux waits as long).
const LINGER: Duration = Duration::from_secs(8);
/// How long the guest waits for a host service, and how often it is tried.
pub(crate) const DIAL_FOR: Duration = Duration::from_secs(15);
pub(crate) const DIAL_EVERY: Duration = Duration::from_millis(50);
/// The shortest time between two calls of the missing-service hook.
pub(crate) const HOOK_EVERY: Duration = Duration::from_secs(3);
/// Pause after `accept` ran out of descriptors or memory.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Host ports of streams opened by the host: no service listens up there.
const EPHEMERAL: std::ops::Range<u32> = 1 << 30..1 << 31;

type Token = u64;
const LISTENER: Token = 0;
const TIMER: Token = 1;
const FIRST: Token = 2;

/// Called when the guest wants a host service that nobody offers.
pub(crate) type MissingService = Box<dyn FnMut() + Send>;

/// All streams of one guest.
pub(crate) struct Mux {
    dir: SocketDir,
    listener: UnixListener,
    /// The listener may have clients that were not accepted yet.
    accepting: bool,
    epoll: OwnedFd,
    timer: OwnedFd,
    timer_at: Option<Instant>,
    deadlines: BTreeSet<(Instant, Token)>,
    streams: HashMap<Token, Connection>,
    by_key: HashMap<Key, Token>,
    from_host: usize,
    from_guest: usize,
    next_token: Token,
    next_port: u32,
    runnable: VecDeque<Token>,
    resets: VecDeque<Header>,
    scratch: Box<[u8]>,
    missing: MissingService,
    missing_at: Option<Instant>,
}

impl Mux {
    /// Listens on `vsock` in `dir`.
    pub(crate) fn new(dir: SocketDir, missing: MissingService) -> io::Result<Mux> {
        let listener = dir.listen(SOCKET)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), edge)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        Ok(Mux {
            dir,
            listener,
            accepting: true,
            epoll,
            timer,
            timer_at: None,
            deadlines: BTreeSet::new(),
            streams: HashMap::new(),
            by_key: HashMap::new(),
            from_host: 0,
            from_guest: 0,
            next_token: FIRST,
            next_port: EPHEMERAL.start,
            runnable: VecDeque::new(),
            resets: VecDeque::new(),
            scratch: vec![0; MAX_PAYLOAD].into_boxed_slice(),
            missing,
            missing_at: None,
        })
    }

    /// Readable whenever [`Mux::poll`] has something to do.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Number of streams in any phase.
    #[cfg(test)]
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Makes the next allocated host port `port`.
    #[cfg(test)]
    pub(crate) fn set_next_port(&mut self, port: u32) {
        self.next_port = port;
    }

    /// Whether the guest's next packet may be taken.
    pub(crate) fn takes_packets(&self) -> bool {
        self.resets.len() < MAX_RESETS
    }

    /// Takes one packet of the guest. Whatever it holds, at worst its stream is reset.
    pub(crate) fn receive(&mut self, header: &Header, payload: &mut impl Read, now: Instant) {
        if header.src_cid != GUEST_CID || header.dst_cid != HOST_CID {
            return;
        }
        let key = Key { host_port: header.dst_port, guest_port: header.src_port };
        let known = self.by_key.get(&key).copied();
        if header.kind != TYPE_STREAM || header.op.is_none() {
            return self.refuse(header);
        }
        let Some(token) = known else {
            return match header.op {
                Some(Op::Request) => self.guest_request(header, key, now),
                Some(Op::Reset) => {}
                _ => self.refuse(header),
            };
        };
        let Some(stream) = self.streams.get_mut(&token) else { return };
        stream.update_credit(header.buf_alloc, header.fwd_cnt);
        match (header.op, &stream.phase) {
            (Some(Op::Reset), _) => {
                self.by_key.remove(&key);
                self.drain(token);
            }
            (Some(Op::Response), Phase::Requested) if !stream.owes_request => {
                stream.phase = Phase::Open;
                let greeted = stream.greet();
                self.set_deadline(token, None);
                if greeted.is_err() {
                    return self.abandon(token);
                }
            }
            (Some(Op::Data), Phase::Open) => {
                let len = header.len as usize;
                let scratch = &mut self.scratch[..len.min(MAX_PAYLOAD)];
                let sound = len <= MAX_PAYLOAD && stream.may_accept(len).is_ok();
                if !sound || payload.read_exact(scratch).is_err() {
                    return self.abandon(token);
                }
                stream.accept(scratch);
            }
            (Some(Op::Shutdown), Phase::Open) => stream.guest_shutdown(header.flags),
            (Some(Op::CreditRequest), Phase::Open) => stream.owe_credit(),
            (Some(Op::CreditUpdate), Phase::Open) => {}
            (Some(Op::Shutdown), Phase::Lingering) => return self.abandon(token),
            // What crossed the SHUTDOWN on its way is void.
            (_, Phase::Lingering) => {}
            _ => return self.abandon(token),
        }
        self.settle(token, now);
    }

    fn guest_request(&mut self, header: &Header, key: Key, now: Instant) {
        if self.from_guest >= MAX_GUEST {
            return self.refuse(header);
        }
        let phase = Phase::Dialing { give_up: now + DIAL_FOR };
        let mut stream = Connection::new(key, Origin::Guest, phase, None);
        stream.update_credit(header.buf_alloc, header.fwd_cnt);
        let token = self.insert(stream);
        self.by_key.insert(key, token);
        self.dial(token, now);
    }

    /// Whether [`Mux::produce`] may have a packet.
    pub(crate) fn has_packets(&self) -> bool {
        !self.resets.is_empty() || !self.runnable.is_empty()
    }

    /// The next packet for the guest, its payload at most `space` bytes. Streams take turns.
    pub(crate) fn produce(&mut self, space: usize, now: Instant) -> Option<(Header, &[u8])> {
        if let Some(reset) = self.resets.pop_front() {
            return Some((reset, &[]));
        }
        while let Some(token) = self.runnable.pop_front() {
            let Some(stream) = self.streams.get_mut(&token) else { continue };
            stream.queued = false;
            let Some((op, flags, len)) = stream.produce(&mut self.scratch, space) else {
                continue;
            };
            let (buf_alloc, fwd_cnt) = stream.tell_credit();
            let header = Header {
                src_cid: HOST_CID,
                dst_cid: GUEST_CID,
                src_port: stream.key.host_port,
                dst_port: stream.key.guest_port,
                len: len as u32,
                kind: TYPE_STREAM,
                op: Some(op),
                flags,
                buf_alloc,
                fwd_cnt,
            };
            self.settle(token, now);
            return Some((header, &self.scratch[..len]));
        }
        None
    }

    /// Brings a stream's phase up to date after anything happened to it, and queues its work.
    fn settle(&mut self, token: Token, now: Instant) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        if stream.phase == Phase::Open && stream.guest_finished() {
            let key = stream.key;
            self.by_key.remove(&key);
            self.push_reset(key);
            return self.drain(token);
        }
        if stream.phase == Phase::Open && stream.guest_told_all() {
            stream.socket = None;
            stream.phase = Phase::Lingering;
            return self.set_deadline(token, Some(now + LINGER));
        }
        if stream.phase == Phase::Draining && stream.drained() {
            return self.remove(token);
        }
        if stream.has_work() && !stream.queued {
            stream.queued = true;
            self.runnable.push_back(token);
        }
    }

    /// The guest has forgotten this stream; what it wrote still reaches the host.
    fn drain(&mut self, token: Token) {
        self.set_deadline(token, None);
        let Some(stream) = self.streams.get_mut(&token) else { return };
        let was_open = stream.phase == Phase::Open;
        stream.phase = Phase::Draining;
        stream.owes_response = false;
        stream.guest_shutdown(super::packet::SHUTDOWN_BOTH);
        if !was_open || stream.drained() {
            self.remove(token);
        }
    }

    /// Ends a stream at once on both sides.
    fn abandon(&mut self, token: Token) {
        if let Some(stream) = self.streams.get(&token)
            && !stream.owes_request
        {
            self.push_reset(stream.key);
        }
        self.remove(token);
    }

    /// Ends all streams: the guest's driver is gone or starts afresh.
    pub(crate) fn forget_guest(&mut self) {
        let tokens: Vec<Token> = self.streams.keys().copied().collect();
        for token in tokens {
            let early = self.streams.get(&token).is_some_and(|stream| {
                stream.owes_request || matches!(stream.phase, Phase::Hello { .. })
            });
            if !early {
                self.remove(token);
            }
        }
        self.resets.clear();
    }

    fn refuse(&mut self, header: &Header) {
        if header.op != Some(Op::Reset) {
            self.resets.push_back(header.reset());
        }
    }

    fn push_reset(&mut self, key: Key) {
        self.resets.push_back(Header {
            src_cid: HOST_CID,
            dst_cid: GUEST_CID,
            src_port: key.host_port,
            dst_port: key.guest_port,
            len: 0,
            kind: TYPE_STREAM,
            op: Some(Op::Reset),
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        });
    }

    fn insert(&mut self, stream: Connection) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        *self.count(stream.origin) += 1;
        self.streams.insert(token, stream);
        token
    }

    /// Forgets a stream and closes its socket, which also leaves the epoll set.
    fn remove(&mut self, token: Token) {
        self.set_deadline(token, None);
        let Some(stream) = self.streams.remove(&token) else { return };
        if self.by_key.get(&stream.key) == Some(&token) {
            self.by_key.remove(&stream.key);
        }
        *self.count(stream.origin) -= 1;
    }

    fn count(&mut self, origin: Origin) -> &mut usize {
        match origin {
            Origin::Host => &mut self.from_host,
            Origin::Guest => &mut self.from_guest,
        }
    }

    fn set_deadline(&mut self, token: Token, deadline: Option<Instant>) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        if let Some(old) = stream.deadline.take() {
            self.deadlines.remove(&(old, token));
        }
        if let Some(at) = deadline {
            stream.deadline = deadline;
            self.deadlines.insert((at, token));
        }
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        // The directory may already be gone.
        let _ = self.dir.remove(SOCKET);
    }
}
