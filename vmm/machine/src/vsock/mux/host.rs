//! The host's side of the mux: what sockets and the clock report.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec};

use crate::vsock::connection::{Connection, Hello, Key, Origin, Phase};

use super::{
    ACCEPT_PAUSE, DIAL_EVERY, EPHEMERAL, HANDSHAKE, HOOK_EVERY, LISTENER, MAX_HOST, Mux, SOCKET,
    TIMER, Token,
};

impl Mux {
    /// Takes in what the sockets and the clock report. Never blocks.
    pub(crate) fn poll(&mut self, now: Instant) {
        let mut events = Vec::with_capacity(128);
        loop {
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            let count = epoll::wait(&self.epoll, buffer, Some(&Timespec::default())).unwrap_or(0);
            for event in &events {
                self.socket_event(event.data.u64(), event.flags, now);
            }
            // A client that was just accepted may have spoken already.
            if !self.accept(now) && count < events.capacity() {
                break;
            }
        }
        while let Some((at, token)) = self.deadlines.first().copied()
            && at <= now
        {
            self.expire(token, now);
        }
        self.arm_timer(now);
    }

    fn socket_event(&mut self, token: Token, flags: epoll::EventFlags, now: Instant) {
        match token {
            LISTENER => self.accepting = true,
            TIMER => {
                let mut count = [0; 8];
                let _ = rustix::io::read(&self.timer, &mut count);
                self.timer_at = None;
            }
            _ => {
                let Some(stream) = self.streams.get_mut(&token) else { return };
                let hung_up = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
                let readable = flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP);
                stream.socket_event(readable, flags.contains(epoll::EventFlags::OUT), hung_up);
                stream.flush();
                match stream.phase {
                    Phase::Hello { .. } => self.hello(token, now),
                    Phase::Requested if hung_up => self.abandon(token),
                    _ => self.settle(token, now),
                }
            }
        }
    }

    /// Accepts waiting clients; whether there were any.
    fn accept(&mut self, now: Instant) -> bool {
        let mut any = false;
        while self.accepting && self.from_host < MAX_HOST {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => {
                    any = true;
                    let key = Key { host_port: 0, guest_port: 0 };
                    let phase = Phase::Hello { line: Vec::new() };
                    let stream = Connection::new(key, Origin::Host, phase, Some(socket));
                    let token = self.insert(stream);
                    if self.register(token).is_err() {
                        self.remove(token);
                    } else {
                        self.set_deadline(token, Some(now + HANDSHAKE));
                    }
                }
                Err(Errno::AGAIN) => self.accepting = false,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => {
                    // Out of descriptors or memory: the backlog keeps the clients meanwhile.
                    self.wake_at(now + ACCEPT_PAUSE);
                    break;
                }
            }
        }
        any
    }

    fn hello(&mut self, token: Token, now: Instant) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        match stream.read_hello() {
            Hello::Partial => {}
            Hello::Bad => self.remove(token),
            Hello::Port(guest_port) => {
                let host_port = self.allocate_port(guest_port);
                let key = Key { host_port, guest_port };
                self.by_key.insert(key, token);
                if let Some(stream) = self.streams.get_mut(&token) {
                    stream.key = key;
                    stream.phase = Phase::Requested;
                    stream.owes_request = true;
                }
                self.set_deadline(token, Some(now + HANDSHAKE));
                self.settle(token, now);
            }
        }
    }

    /// The next host port that is free towards `guest_port`. Far fewer streams than ports exist,
    /// so the search ends.
    fn allocate_port(&mut self, guest_port: u32) -> u32 {
        loop {
            let host_port = self.next_port;
            self.next_port =
                if host_port + 1 == EPHEMERAL.end { EPHEMERAL.start } else { host_port + 1 };
            if !self.by_key.contains_key(&Key { host_port, guest_port }) {
                return host_port;
            }
        }
    }

    fn expire(&mut self, token: Token, now: Instant) {
        self.set_deadline(token, None);
        match self.streams.get(&token).map(|stream| &stream.phase) {
            Some(Phase::Hello { .. }) => self.remove(token),
            Some(Phase::Requested | Phase::Lingering) => self.abandon(token),
            Some(Phase::Dialing { give_up }) if *give_up <= now => self.abandon(token),
            Some(Phase::Dialing { .. }) => self.dial(token, now),
            Some(Phase::Open | Phase::Draining) | None => {}
        }
    }

    /// Tries to reach the host service a guest asks for.
    pub(super) fn dial(&mut self, token: Token, now: Instant) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        match self.dir.connect(&format!("{SOCKET}_{}", stream.key.host_port)) {
            Ok(socket) => {
                stream.socket = Some(socket);
                stream.phase = Phase::Open;
                stream.owes_response = true;
                if self.register(token).is_err() {
                    return self.abandon(token);
                }
                self.settle(token, now);
            }
            Err(error) => {
                let nobody = matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                );
                if nobody && self.missing_at.is_none_or(|at| now >= at + HOOK_EVERY) {
                    self.missing_at = Some(now);
                    (self.missing)();
                }
                self.set_deadline(token, Some(now + DIAL_EVERY));
            }
        }
    }

    fn register(&self, token: Token) -> io::Result<()> {
        use epoll::EventFlags as On;
        let Some(socket) = self.streams.get(&token).and_then(|stream| stream.socket.as_ref())
        else {
            return Ok(());
        };
        let events = On::IN | On::OUT | On::RDHUP | On::ET;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), events)?)
    }

    /// Sets the timer for the nearest deadline; without one it stays silent.
    pub(crate) fn arm_timer(&mut self, now: Instant) {
        if let Some((at, _)) = self.deadlines.first() {
            let at = *at;
            if self.timer_at.is_none_or(|set| at < set) {
                self.set_timer(at, now);
            }
        }
    }

    /// Makes [`Mux::fd`] readable again at `at`.
    pub(crate) fn wake_at(&mut self, at: Instant) {
        let now = Instant::now();
        if self.timer_at.is_none_or(|set| at < set) {
            self.set_timer(at, now);
        }
    }

    fn set_timer(&mut self, at: Instant, now: Instant) {
        // Zero would disarm the timer.
        let wait = at.saturating_duration_since(now).max(Duration::from_nanos(1));
        let it_value =
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let spec = Itimerspec { it_interval: Timespec::default(), it_value };
        if rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).is_ok() {
            self.timer_at = Some(at);
        }
    }
}
