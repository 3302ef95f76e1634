//! The handshake with a host client: `CONNECT <port>\n`, then `OK <host port>\n`.

use std::io;

use rustix::io::Errno;

use super::{Connection, Phase, recv, send};

/// The longest `CONNECT <port>\n` is 19 bytes; what follows it in one read is kept.
pub(crate) const HELLO_MAX: usize = 32;

/// What a read of the CONNECT line came to.
pub(crate) enum Hello {
    /// More bytes are needed.
    Partial,
    /// The client asks for this guest port.
    Port(u32),
    /// The client left or does not speak the protocol.
    Bad,
}

impl Connection {
    /// Reads more of the CONNECT line.
    pub(crate) fn read_hello(&mut self) -> Hello {
        let (Phase::Hello { line }, Some(socket)) = (&mut self.phase, &self.socket) else {
            return Hello::Bad;
        };
        while line.len() < HELLO_MAX {
            let mut chunk = [0; HELLO_MAX];
            let room = HELLO_MAX - line.len();
            match recv(socket, &mut chunk[..room]) {
                Ok(0) => return Hello::Bad,
                Ok(count) => line.extend_from_slice(&chunk[..count]),
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    return Hello::Partial;
                }
                Err(_) => return Hello::Bad,
            }
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let Some(port) = parse_hello(&line[..end]) else { return Hello::Bad };
                self.inbox = line.split_off(end + 1);
                return Hello::Port(port);
            }
        }
        Hello::Bad
    }

    /// Tells a host client that the guest accepted. Its socket buffer is empty, so a line that
    /// does not fit means that the client is gone.
    pub(crate) fn greet(&mut self) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        let line = format!("OK {}\n", self.key.host_port);
        let count = send(socket, line.as_bytes())?;
        if count == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// The port of a CONNECT line, which is given without its end.
pub(crate) fn parse_hello(line: &[u8]) -> Option<u32> {
    let port = std::str::from_utf8(line).ok()?.strip_prefix("CONNECT ")?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if digits { port.parse().ok() } else { None }
}
