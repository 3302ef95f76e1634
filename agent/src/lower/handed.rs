//! The host of a sandbox, where there is no vsock: connected sockets are handed over one socket that
//! the sandbox was started with (a sequence of packets, unix(7)).
//!
//! ```text
//! host ▶ agent   port, socket of a client          the agent answers "OK <port>\n" on it, or closes it
//! agent ▶ host   port, socket for the answer       host ▶ answer: one byte, the connected socket
//! ```
//!
//! A port is four bytes, the lowest first. No path of the host is seen inside, and no byte is copied.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::sync::Arc;

use pyro_proto::{AGENT_PORT, HOST_PORT};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::host::{Dial, Listen};
use crate::sys;

/// The socket that others come by.
#[derive(Debug, Clone)]
pub struct Handed(Arc<OwnedFd>);

impl Handed {
    /// The socket that the agent was started with.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(Arc::new(socket)))
    }
}

impl Dial for Handed {
    type Stream = UnixStream;

    async fn dial(&self) -> io::Result<UnixStream> {
        let (answer, theirs) = Socket::pair()?;
        send(&self.0, &HOST_PORT.to_le_bytes(), theirs.as_fd())?;
        drop(theirs);
        answer.set_nonblocking(true)?;
        let answer = UnixStream::from_std(answer)?;
        let receive = || receive(&answer, &mut [0])?.ok_or(io::ErrorKind::ConnectionRefused.into());
        let socket = answer.async_io(Interest::READABLE, receive).await?;
        adopt(socket)
    }
}

impl Listen for Handed {
    fn listen(&self) -> io::Result<mpsc::Receiver<UnixStream>> {
        let socket = sys::watched(self.0.try_clone()?)?;
        let (sender, streams) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut port = [0; 4];
            // Ends when the host is gone: there is nobody to live for.
            while let Ok(Some(client)) =
                socket.async_io(Interest::READABLE, |fd| receive(fd, &mut port)).await
            {
                if u32::from_le_bytes(port) != AGENT_PORT {
                    continue;
                }
                // Nothing was sent on it before: the line has room, or the client is gone.
                let ok = format!("OK {AGENT_PORT}\n");
                let greeted = rustix::net::send(&client, ok.as_bytes(), SendFlags::NOSIGNAL);
                let Ok(stream) = greeted.map_err(io::Error::from).and_then(|_| adopt(client))
                else {
                    continue;
                };
                if sender.send(stream).await.is_err() {
                    break;
                }
            }
        });
        Ok(streams)
    }
}

fn adopt(socket: OwnedFd) -> io::Result<UnixStream> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

fn send(by: &OwnedFd, bytes: &[u8], socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    with.push(SendAncillaryMessage::ScmRights(&sockets));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(by, &[IoSlice::new(bytes)], &mut with, flags)?;
    Ok(())
}

/// Bytes, and the socket that came with them; `None` at the end.
fn receive(from: impl AsFd, bytes: &mut [u8]) -> io::Result<Option<OwnedFd>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(bytes)];
    recvmsg(from, &mut buffers, &mut with, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC)?;
    let socket = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (OwnedFd, Handed) {
        let flags = SocketFlags::CLOEXEC;
        let (host, guest) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        (host, Handed::new(guest).unwrap())
    }

    fn hand_over(host: &OwnedFd, port: u32) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(host, &port.to_le_bytes(), theirs.as_fd()).unwrap();
        ours
    }

    #[tokio::test(flavor = "current_thread")]
    async fn clients_of_the_agents_port_are_greeted_and_others_are_not() {
        let (host, guest) = pair();
        let mut streams = guest.listen().unwrap();
        let (mut wrong, mut right) = (hand_over(&host, 7), hand_over(&host, AGENT_PORT));
        let mut stream = streams.recv().await.unwrap();
        let mut line = [0; 8];
        right.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, format!("OK {AGENT_PORT}\n").as_bytes());
        stream.write_all(b"hello").await.unwrap();
        right.read_exact(&mut line[..5]).await.unwrap();
        assert_eq!(wrong.read(&mut line).await.unwrap(), 0);
        drop(host);
        assert!(streams.recv().await.is_none());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_host_answers_with_a_socket_or_refuses() {
        let (host, guest) = pair();
        let dialing = tokio::spawn({
            let guest = guest.clone();
            async move { guest.dial().await }
        });
        tokio::task::yield_now().await;
        let mut port = [0; 4];
        let answer = receive(&host, &mut port).unwrap().unwrap();
        assert_eq!(u32::from_le_bytes(port), HOST_PORT);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        send(&answer, &[0], theirs.as_fd()).unwrap();
        let mut stream = dialing.await.unwrap().unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'x');

        let dialing = tokio::spawn(async move { guest.dial().await });
        tokio::task::yield_now().await;
        drop(receive(&host, &mut port).unwrap().unwrap());
        assert!(dialing.await.unwrap().is_err());
    }
}
