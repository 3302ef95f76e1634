//! The host's side of a sandbox, in place of a vsock device: the same sockets in the machine's
//! directory, but nothing in between. What connects is handed over, as a descriptor, by a socket that
//! the agent was started with (a sequence of packets, unix(7)).
//!
//! ```text
//! host client ──"CONNECT 1024\n"─ DIR/vsock ─ here ─(1024, the client)──▶ agent ─"OK 1024\n"▶ client
//! agent ─(1025, answer socket)──▶ here ─ connects to DIR/vsock_1025 ─(the connection)─ answer ▶ agent
//! ```
//!
//! A port is four bytes, the lowest first. The agent is not trusted: it gets connections to services
//! of this directory and nothing else, and no more of them at once than a guest gets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::services::{Services, Serving, take_clients};
use crate::sys;
use crate::vsock::{
    HANDSHAKE, HELLO_MAX, MAX_GUEST, MAX_HOST, MissingService, SOCKET, SocketDir, parse_hello,
};

/// Hands connections over until dropped.
pub(crate) struct Handover {
    _serving: Serving,
}

/// What the sandbox and its owner need.
pub(crate) struct Plug {
    /// The agent's end.
    pub(crate) agent_end: OwnedFd,
    /// Reads as end-of-file once the agent has asked for the host.
    pub(crate) ready: OwnedFd,
}

impl Handover {
    /// Starts serving: host clients on `vsock` in `dir`, the agent on the returned plug. `missing` is
    /// called when the agent wants a host port that nobody listens on.
    pub(crate) fn start(dir: SocketDir, missing: MissingService) -> io::Result<(Handover, Plug)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, agent_end) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let (ready, announce) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let listener = dir.listen(SOCKET)?;
        listener.set_nonblocking(true)?;
        let serving = Serving::start("handover", || async move {
            let Ok(agent) = sys::watched(ours) else { return };
            let Ok(listener) = UnixListener::from_std(listener) else { return };
            let services = Services::new(dir, missing);
            let host = Arc::new(Host { agent, services });
            let introduce = |client| {
                let host = host.clone();
                async move {
                    // A client that was not handed over is closed, and so refused.
                    let _ = timeout(HANDSHAKE, host.introduce(client)).await;
                }
            };
            tokio::select! {
                () = take_clients(listener, MAX_HOST, introduce) => {}
                () = host.clone().take_requests(announce) => {}
            }
        })?;
        Ok((Handover { _serving: serving }, Plug { agent_end, ready }))
    }
}

struct Host {
    agent: AsyncFd<OwnedFd>,
    services: Services,
}

impl Host {
    async fn introduce(&self, mut client: UnixStream) -> io::Result<()> {
        let mut line = Vec::new();
        // Byte by byte: what follows the line belongs to the agent.
        while line.len() < HELLO_MAX {
            match client.read_u8().await? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        let port = parse_hello(&line).ok_or(io::ErrorKind::InvalidData)?;
        let client = client.into_std()?;
        let hand_over = |agent: &OwnedFd| send(agent, &port.to_le_bytes(), client.as_fd());
        self.agent.async_io(Interest::WRITABLE, hand_over).await
    }

    /// Takes the agent's requests until it is gone.
    async fn take_requests(self: Arc<Self>, announce: OwnedFd) {
        let mut announce = Some(announce);
        let places = Arc::new(Semaphore::new(MAX_GUEST));
        loop {
            let mut port = [0; 4];
            let request = self.agent.async_io(Interest::READABLE, |fd| receive(fd, &mut port));
            let answer = match request.await {
                Ok((4, Some(answer))) => answer,
                // Nothing at all is the end; what makes no sense has no answer.
                Ok((0, _)) | Err(_) => return,
                Ok(_) => continue,
            };
            drop(announce.take());
            let (Ok(place), host) = (places.clone().try_acquire_owned(), self.clone()) else {
                continue;
            };
            tokio::spawn(async move {
                if let Ok(socket) = host.services.dial(u32::from_le_bytes(port)).await {
                    // An agent that waits no longer gets nothing.
                    let _ = send(&answer, &[0], socket.as_fd());
                }
                drop(place);
            });
        }
    }
}

fn send(by: &OwnedFd, bytes: &[u8], socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    with.push(SendAncillaryMessage::ScmRights(&sockets));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(by, &[IoSlice::new(bytes)], &mut with, flags)?;
    Ok(())
}

/// The number of bytes, and the descriptor that came with them. More descriptors than one are closed.
fn receive(from: &OwnedFd, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(bytes)];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(from, &mut buffers, &mut with, flags)?;
    let socket = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    Ok((got.bytes, socket))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream as Socket;
    use std::path::Path;

    use super::*;

    fn start(dir: &Path, missing: impl FnMut() + Send + 'static) -> (Handover, OwnedFd, OwnedFd) {
        let sockets = SocketDir::open(dir).unwrap();
        let (handover, plug) = Handover::start(sockets, Box::new(missing)).unwrap();
        (handover, plug.agent_end, plug.ready)
    }

    /// Waits for what is handed to the agent's end.
    fn next(agent: &OwnedFd) -> (u32, Socket) {
        let mut port = [0; 4];
        let mut fds = [rustix::event::PollFd::new(agent, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        let (count, socket) = receive(agent, &mut port).unwrap();
        assert_eq!(count, 4);
        (u32::from_le_bytes(port), socket.unwrap().into())
    }

    fn ask(agent: &OwnedFd, port: u32) -> Socket {
        let (answer, theirs) = Socket::pair().unwrap();
        // Full now and then, for it is read by another thread.
        while let Err(error) = send(agent, &port.to_le_bytes(), theirs.as_fd()) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            std::thread::yield_now();
        }
        answer
    }

    fn answered(answer: Socket) -> Option<Socket> {
        let answer = OwnedFd::from(answer);
        let mut fds = [rustix::event::PollFd::new(&answer, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        receive(&answer, &mut [0]).unwrap().1.map(Socket::from)
    }

    #[test]
    fn clients_arrive_with_their_port_and_all_that_they_said_since() {
        let dir = tempfile::tempdir().unwrap();
        let (_handover, agent, _) = start(dir.path(), || ());
        let mut client = Socket::connect(dir.path().join(SOCKET)).unwrap();
        client.write_all(b"CONNECT 1024\nand more").unwrap();
        let (port, mut handed) = next(&agent);
        assert_eq!(port, 1024);
        let mut said = [0; 8];
        handed.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"and more");
        handed.write_all(b"OK").unwrap();
        client.read_exact(&mut said[..2]).unwrap();

        for nonsense in ["CONNECT x\n", "\n", &"C".repeat(64)] {
            let mut client = Socket::connect(dir.path().join(SOCKET)).unwrap();
            client.write_all(nonsense.as_bytes()).unwrap();
            // Closed, with or without what was not read.
            assert!(matches!(client.read(&mut said), Ok(0) | Err(_)), "{nonsense:?}");
        }
    }

    #[test]
    fn the_agent_gets_a_service_that_had_to_be_started() {
        let dir = tempfile::tempdir().unwrap();
        let (started, listeners) = std::sync::mpsc::channel();
        let path = dir.path().to_owned();
        let (_handover, agent, ready) = start(dir.path(), move || {
            let listener = SocketDir::open(&path).unwrap().listen("vsock_1025").unwrap();
            started.send(listener).unwrap();
        });
        let answer = ask(&agent, 1025);
        let mut service = answered(answer).unwrap();
        // It counts as ready with its first request.
        assert_eq!(rustix::io::read(&ready, &mut [0]).unwrap(), 0);
        let listener = listeners.recv().unwrap();
        listener.set_nonblocking(false).unwrap();
        service.write_all(b"x").unwrap();
        listener.accept().unwrap().0.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn an_agent_that_floods_gets_no_more_than_a_guest() {
        let dir = tempfile::tempdir().unwrap();
        let (handover, agent, _) = start(dir.path(), || ());
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let most = rustix::process::Rlimit { current: descriptors.maximum, ..descriptors };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, most).unwrap();
        // Without a descriptor, or too short: not answered, and no harm.
        rustix::net::send(&agent, &[1, 4, 0, 0], SendFlags::empty()).unwrap();
        rustix::net::send(&agent, &[1], SendFlags::empty()).unwrap();
        let waiting: Vec<_> = (0..MAX_GUEST).map(|_| ask(&agent, 7)).collect();
        let answer = ask(&agent, 7);
        assert!(answered(answer).is_none(), "one more is refused at once");
        drop(handover);
        assert!(waiting.into_iter().all(|answer| answered(answer).is_none()));
    }
}
