//! A server with a public address that exists on this machine only: it lives in a network namespace
//! of its own, at the other end of a pair of virtual interfaces, and has no way on from there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::support::told;

/// What has a public address. The namespace ends with this process, however that ends, and takes
/// the interfaces along.
pub struct Outside {
    /// The server's address.
    pub server: Ipv4Addr,
    /// This host's address on the way there.
    pub host: Ipv4Addr,
    /// This host's interface.
    pub interface: String,
    /// What was uploaded, connection by connection.
    pub uploads: Receiver<Vec<u8>>,
}

/// The first of the addresses that the amateur radio's network keeps for tests.
const NETWORK: Ipv4Addr = Ipv4Addr::new(44, 128, 0, 0);

/// Whether an address is of those that tests play with, 44.128.0.0/15.
pub fn is_played(address: Ipv4Addr) -> bool {
    address.to_bits() >> 17 == NETWORK.to_bits() >> 17
}

impl Outside {
    /// Starts the server, which offers `content`; or why that cannot be done here.
    pub fn start(content: &[u8]) -> Result<Self, String> {
        // A network of four addresses, another one for each process.
        let block = (std::process::id() % (1 << 14)) << 2;
        let address = |last| Ipv4Addr::from_bits(NETWORK.to_bits() | block | last);
        let (host, server) = (address(1), address(2));
        let interface = format!("pyro{}", std::process::id());
        let (sender, uploads) = channel();
        let (inner, content) = (interface.clone(), content.to_vec());
        // A thread of its own, which stays in the namespace for all that it starts.
        let serving = thread::spawn(move || serve(&inner, server, content, sender));
        serving.join().map_err(|_| "its thread died".to_owned())??;
        ip(&["address", "add", &format!("{host}/30"), "dev", &interface])?;
        ip(&["link", "set", &interface, "up"])?;
        Ok(Self { server, host, interface, uploads })
    }
}

/// Runs `ip` from iproute2 in the caller's namespace.
pub fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output();
    let output = output.map_err(|error| format!("'ip' of iproute2 does not run: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("ip {args:?}: {}", told(&output))) }
}

/// Moves the calling thread to a new network namespace and starts the server's threads there.
fn serve(
    interface: &str,
    server: Ipv4Addr,
    content: Vec<u8>,
    uploads: Sender<Vec<u8>>,
) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("a network namespace takes root: {error}"))?;
    let pid = std::process::id().to_string();
    ip(&["link", "add", interface, "type", "veth", "peer", "name", "here"])?;
    ip(&["link", "set", interface, "netns", &pid])?;
    ip(&["address", "add", &format!("{server}/30"), "dev", "here"])?;
    ip(&["link", "set", "here", "up"])?;

    let listen = |port| TcpListener::bind((server, port)).map_err(|error| error.to_string());
    let datagrams = |port| UdpSocket::bind((server, port)).map_err(|error| error.to_string());
    let (down, up) = (listen(8001)?, listen(8002)?);
    thread::spawn(move || {
        for mut client in down.incoming().flatten() {
            let _ = client.write_all(&content);
        }
    });
    thread::spawn(move || {
        for mut client in up.incoming().flatten() {
            let mut content = Vec::new();
            let _ = client.read_to_end(&mut content);
            if uploads.send(content).is_err() {
                return;
            }
            let _ = client.shutdown(Shutdown::Both);
        }
    });
    let echo = datagrams(8003)?;
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((count, client)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..count], client);
        }
    });
    let names = datagrams(53)?;
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((count, client)) = names.recv_from(&mut question) {
            let _ = names.send_to(&answer(&question[..count], server), client);
        }
    });
    Ok(())
}

/// Every name has this address, and no other record. Source of the format: RFC 1035.
fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    const HEADER: usize = 12;
    const TYPE_A: [u8; 2] = [0, 1];
    let name = question[HEADER..].iter().position(|byte| *byte == 0).expect("a name ends");
    let end = HEADER + name + 1 + 4;
    let is_a = question[end - 4..end - 2] == TYPE_A;
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(&question[HEADER..end]);
    if is_a {
        // The name as in the question, type and class, a minute, four bytes.
        answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
