//! The mux against a scripted guest, over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::connection::BUFFER;
use super::dir::SocketDir;
use super::mux::{GUEST_CID, Mux};
use super::packet::*;

const PORT: u32 = 1024;
const CREDIT: u32 = 64 * 1024;

/// A guest whose every packet the test writes itself, and whose clock the test moves.
struct Guest {
    mux: Mux,
    dir: tempfile::TempDir,
    now: Instant,
    missing: Arc<AtomicUsize>,
    /// Bytes consumed, as reported with every packet.
    consumed: u32,
}

impl Guest {
    fn new() -> Guest {
        let dir = tempfile::tempdir().unwrap();
        let missing = Arc::new(AtomicUsize::new(0));
        let seen = missing.clone();
        let hook = Box::new(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        let mux = Mux::new(SocketDir::open(dir.path()).unwrap(), hook).unwrap();
        Guest { mux, dir, now: Instant::now(), missing, consumed: 0 }
    }

    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(self.dir.path().join("vsock")).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    fn header(&self, op: Op, host_port: u32, guest_port: u32) -> Header {
        Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: guest_port,
            dst_port: host_port,
            len: 0,
            kind: TYPE_STREAM,
            op: Some(op),
            flags: 0,
            buf_alloc: CREDIT,
            fwd_cnt: self.consumed,
        }
    }

    fn give(&mut self, header: Header, data: &[u8]) {
        let header = Header { len: data.len() as u32, ..header };
        self.mux.receive(&header, &mut &*data, self.now);
    }

    fn send(&mut self, op: Op, host_port: u32, data: &[u8]) {
        self.give(self.header(op, host_port, PORT), data);
    }

    fn shutdown(&mut self, host_port: u32, flags: u32) {
        self.give(Header { flags, ..self.header(Op::Shutdown, host_port, PORT) }, &[]);
    }

    /// Everything the device has for the guest now.
    fn take(&mut self) -> Vec<(Header, Vec<u8>)> {
        let mut packets = Vec::new();
        self.mux.poll(self.now);
        while let Some((header, data)) = self.mux.produce(4096, self.now) {
            assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, GUEST_CID));
            assert_eq!(header.len as usize, data.len());
            packets.push((header, data.to_vec()));
            self.mux.poll(self.now);
        }
        packets
    }

    fn ops(&mut self) -> Vec<Op> {
        self.take().into_iter().filter_map(|(header, _)| header.op).collect()
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.mux.poll(self.now);
    }

    /// A stream that the guest has accepted, and its host port.
    fn open(&mut self) -> (UnixStream, u32) {
        let mut client = self.client();
        client.write_all(b"CONNECT 1024\n").unwrap();
        let host_port = self.requested();
        self.send(Op::Response, host_port, &[]);
        assert_eq!(line(&mut client), format!("OK {host_port}\n"));
        (client, host_port)
    }

    fn requested(&mut self) -> u32 {
        let packets = self.take();
        let [(request, _)] = packets[..] else { panic!("{packets:?}") };
        assert_eq!((request.op, request.dst_port), (Some(Op::Request), PORT));
        request.src_port
    }

    /// Whether the device's descriptor would wake its thread.
    fn is_awake(&self) -> bool {
        let fd = self.mux.fd();
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.dir.path().join(format!("vsock_{port}"))).unwrap()
    }
}

fn line(client: &mut UnixStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn rest(client: &mut UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    rest
}

#[test]
fn a_host_stream_carries_bytes_both_ways() {
    let mut guest = Guest::new();
    let (mut client, port) = guest.open();
    client.write_all(b"ping").unwrap();
    let packets = guest.take();
    assert_eq!(packets.len(), 1);
    assert_eq!((packets[0].0.op, &packets[0].1[..]), (Some(Op::Data), &b"ping"[..]));
    guest.send(Op::Data, port, b"pong");
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"pong");
}

#[test]
fn bytes_sent_together_with_the_connect_line_arrive() {
    let mut guest = Guest::new();
    let mut client = guest.client();
    client.write_all(b"CONNECT 1024\nearly bytes, more than fit beside the line").unwrap();
    let port = guest.requested();
    guest.send(Op::Response, port, &[]);
    let data: Vec<u8> = guest.take().into_iter().flat_map(|(_, data)| data).collect();
    assert_eq!(data, b"early bytes, more than fit beside the line");
}

#[test]
fn a_connect_line_in_pieces_is_understood_and_a_wrong_one_is_not() {
    let mut guest = Guest::new();
    let mut client = guest.client();
    for piece in ["CON", "NECT 10", "24"] {
        client.write_all(piece.as_bytes()).unwrap();
        assert!(guest.take().is_empty());
    }
    client.write_all(b"\n").unwrap();
    guest.requested();
    let wrong = ["CONNECT \n", "CONNECT +5\n", "CONNECT 4294967296\n", "connect 5\n", "\n"];
    for text in wrong.into_iter().chain(["CONNECT 00000000000000000000000000000000"]) {
        let mut client = guest.client();
        client.write_all(text.as_bytes()).unwrap();
        assert!(guest.take().is_empty(), "{text}");
        let closed = client.read(&mut [0]);
        assert!(
            matches!(closed, Ok(0))
                || closed.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
        );
    }
}

#[test]
fn a_refused_stream_is_closed() {
    let mut guest = Guest::new();
    let mut client = guest.client();
    client.write_all(b"CONNECT 1024\n").unwrap();
    let port = guest.requested();
    guest.send(Op::Reset, port, &[]);
    assert_eq!(rest(&mut client), b"");
    assert_eq!(guest.mux.stream_count(), 0);
}

#[test]
fn vanished_and_silent_clients_leave_nothing_and_wake_nobody() {
    let mut guest = Guest::new();
    for index in 0..400 {
        let mut client = guest.client();
        match index % 4 {
            0 => client.write_all(b"CONNECT 1024\n").unwrap(),
            1 => client.write_all(b"CONN").unwrap(),
            2 => {}
            _ => client.write_all(b"nonsense\n").unwrap(),
        }
    }
    let silent: Vec<UnixStream> = (0..400).map(|_| guest.client()).collect();
    guest.take();
    assert!(!guest.is_awake());
    let (_client, _) = guest.open();
    guest.take();
    assert!(!guest.is_awake());
    guest.later(11);
    guest.take();
    assert_eq!(guest.mux.stream_count(), 1);
    for mut client in silent {
        assert_eq!(rest(&mut client), b"");
    }
}

#[test]
fn clients_beyond_the_limit_wait_in_the_backlog_and_are_served_later() {
    let mut guest = Guest::new();
    let first: Vec<UnixStream> = (0..1024).map(|_| guest.client()).collect();
    let mut client = guest.client();
    client.write_all(b"CONNECT 1024\n").unwrap();
    assert!(guest.take().is_empty());
    assert_eq!(guest.mux.stream_count(), 1024);
    assert!(!guest.is_awake());
    drop(first);
    guest.requested();
}

#[test]
fn the_guest_cannot_make_the_device_buffer_without_bound() {
    let mut guest = Guest::new();
    let (mut client, port) = guest.open();
    let block = vec![7; 64 * 1024];
    let mut sent = 0;
    let mut forwarded = 0;
    // Nobody reads: the socket's own buffer fills, then the device's, then credit ends.
    while sent - forwarded + block.len() as u32 <= BUFFER {
        guest.send(Op::Data, port, &block);
        sent += block.len() as u32;
        for (header, _) in guest.take() {
            assert_eq!(header.op, Some(Op::CreditUpdate));
            forwarded = header.fwd_cnt;
        }
        assert!(sent < 8 << 20);
    }
    // The reader wakes up: credit comes back and every byte arrives.
    let mut got = vec![0; 200 * 1024];
    client.read_exact(&mut got).unwrap();
    let update = guest.take().pop().expect("a credit update").0;
    assert_eq!(update.op, Some(Op::CreditUpdate));
    assert!(update.fwd_cnt > forwarded);
    let left = (BUFFER - (sent - update.fwd_cnt)) as usize;
    guest.send(Op::Data, port, &vec![7; left.min(MAX_PAYLOAD)]);
    assert!(!guest.ops().contains(&Op::Reset));
    // Sending on regardless is a violation.
    for _ in 0..16 {
        guest.send(Op::Data, port, &block);
    }
    assert!(guest.ops().contains(&Op::Reset));
}

#[test]
fn no_more_is_read_from_the_host_than_the_guest_has_room_for() {
    let mut guest = Guest::new();
    let (mut client, port) = guest.open();
    client.set_nonblocking(true).unwrap();
    let mut written = 0;
    let mut taken = 0;
    let mut asked = 0;
    loop {
        match client.write(&[1; 16 * 1024]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        for (header, data) in guest.take() {
            taken += data.len();
            asked += usize::from(header.op == Some(Op::CreditRequest));
        }
    }
    assert_eq!((taken, asked), (CREDIT as usize, 1));
    assert!(!guest.is_awake());
    guest.consumed = CREDIT;
    guest.send(Op::CreditUpdate, port, &[]);
    let more: usize = guest.take().iter().map(|(_, data)| data.len()).sum();
    assert_eq!(more, CREDIT as usize);
    assert!(written >= taken + more);
}

#[test]
fn bogus_credit_stalls_its_own_stream_only() {
    let mut guest = Guest::new();
    let (mut client, port) = guest.open();
    let header = guest.header(Op::CreditUpdate, port, PORT);
    guest.give(Header { fwd_cnt: 0x8000_0000, buf_alloc: 10, ..header }, &[]);
    client.write_all(b"stalled").unwrap();
    assert!(!guest.ops().contains(&Op::Data));
    let (mut other, _) = guest.open();
    other.write_all(b"works").unwrap();
    assert_eq!(guest.take()[0].1, b"works");
}

#[test]
fn what_the_guest_wrote_before_closing_reaches_a_late_reader() {
    let mut guest = Guest::new();
    let (mut client, port) = guest.open();
    let reader = std::thread::spawn(move || rest(&mut client));
    let mut sent: u32 = 0;
    let mut forwarded = 0;
    let block: Vec<u8> = (0..50_000).map(|byte| byte as u8).collect();
    while sent < 10_000_000 {
        if sent - forwarded + block.len() as u32 <= BUFFER {
            guest.send(Op::Data, port, &block);
            sent += block.len() as u32;
        } else {
            std::thread::yield_now();
        }
        for (header, _) in guest.take() {
            forwarded = header.fwd_cnt;
        }
    }
    guest.shutdown(port, SHUTDOWN_BOTH);
    assert!(guest.ops().contains(&Op::Reset));
    while guest.mux.stream_count() > 0 {
        guest.take();
        std::thread::yield_now();
    }
    let got = reader.join().unwrap();
    assert_eq!(got.len(), 10_000_000);
    assert!(got.chunks(block.len()).all(|part| part == block));
}

#[test]
fn what_the_host_wrote_before_closing_reaches_the_guest_then_it_is_told() {
    let mut guest = Guest::new();
    let (mut client, port) = guest.open();
    client.write_all(&[3; 10_000]).unwrap();
    drop(client);
    let packets = guest.take();
    let data: usize = packets.iter().map(|(_, data)| data.len()).sum();
    assert_eq!(data, 10_000);
    let last = packets.last().unwrap().0;
    assert_eq!((last.op, last.flags), (Some(Op::Shutdown), SHUTDOWN_BOTH));
    // What the guest sent meanwhile is void, and its reset ends the stream.
    guest.send(Op::Data, port, b"too late");
    assert!(guest.take().is_empty());
    guest.send(Op::Reset, port, &[]);
    assert_eq!(guest.mux.stream_count(), 0);
}

#[test]
fn a_guest_that_never_confirms_a_close_is_not_waited_for() {
    let mut guest = Guest::new();
    let (client, _) = guest.open();
    drop(client);
    assert_eq!(guest.ops(), [Op::Shutdown]);
    guest.later(9);
    assert_eq!(guest.ops(), [Op::Reset]);
    assert_eq!(guest.mux.stream_count(), 0);
}

#[test]
fn either_side_may_close_one_direction() {
    let mut guest = Guest::new();
    let (mut client, port) = guest.open();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let packets = guest.take();
    assert_eq!((packets[0].0.op, packets[0].0.flags), (Some(Op::Shutdown), SHUTDOWN_SEND));
    guest.send(Op::Data, port, b"still");
    guest.shutdown(port, SHUTDOWN_SEND);
    assert_eq!(rest(&mut client), b"still");
    assert_eq!(guest.take()[0].0.flags, SHUTDOWN_BOTH);
    guest.send(Op::Reset, port, &[]);
    assert_eq!(guest.mux.stream_count(), 0);

    let (mut client, port) = guest.open();
    guest.shutdown(port, SHUTDOWN_RECV);
    assert_eq!(client.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    guest.send(Op::Data, port, b"last words");
    guest.shutdown(port, SHUTDOWN_SEND);
    assert_eq!(rest(&mut client), b"last words");
}

#[test]
fn host_ports_wrap_and_skip_those_in_use() {
    let mut guest = Guest::new();
    let (_first, port) = guest.open();
    assert_eq!(port, 1 << 30);
    guest.mux.set_next_port((1 << 31) - 1);
    let (_second, port) = guest.open();
    assert_eq!(port, (1 << 31) - 1);
    let (_third, port) = guest.open();
    assert_eq!(port, (1 << 30) + 1);
}

#[test]
fn two_thousand_connects_leave_no_stream() {
    let mut guest = Guest::new();
    for _ in 0..2000 {
        let (client, port) = guest.open();
        drop(client);
        assert_eq!(guest.ops(), [Op::Shutdown]);
        guest.send(Op::Reset, port, &[]);
    }
    assert_eq!(guest.mux.stream_count(), 0);
    assert!(!guest.is_awake());
}

#[test]
fn the_guest_reaches_a_host_service() {
    let mut guest = Guest::new();
    let listener = guest.listen(1025);
    guest.send(Op::Request, 1025, &[]);
    assert_eq!(guest.ops(), [Op::Response]);
    let (mut service, _) = listener.accept().unwrap();
    guest.send(Op::Data, 1025, b"hello");
    guest.shutdown(1025, SHUTDOWN_BOTH);
    assert_eq!(rest(&mut service), b"hello");
    assert_eq!(guest.missing.load(Ordering::Relaxed), 0);
}

#[test]
fn a_missing_service_is_called_for_and_reached_once_it_is_there() {
    let mut guest = Guest::new();
    drop(guest.listen(1025));
    guest.send(Op::Request, 1025, &[]);
    assert!(guest.take().is_empty());
    assert_eq!(guest.missing.load(Ordering::Relaxed), 1);
    guest.later(1);
    assert_eq!(guest.missing.load(Ordering::Relaxed), 1);
    std::fs::remove_file(guest.dir.path().join("vsock_1025")).unwrap();
    let _listener = guest.listen(1025);
    guest.later(1);
    assert_eq!(guest.ops(), [Op::Response]);
}

#[test]
fn a_service_that_never_comes_is_given_up() {
    let mut guest = Guest::new();
    guest.send(Op::Request, 1025, &[]);
    for _ in 0..14 {
        guest.later(1);
        assert!(guest.take().is_empty());
    }
    guest.later(2);
    assert_eq!(guest.ops(), [Op::Reset]);
    assert_eq!(guest.mux.stream_count(), 0);
    assert!(guest.missing.load(Ordering::Relaxed) <= 6);
}

#[test]
fn a_flood_of_requests_is_bounded_and_does_not_lock_the_host_out() {
    let mut guest = Guest::new();
    for port in 0..2000 {
        if guest.mux.takes_packets() {
            guest.give(guest.header(Op::Request, 1025, port), &[]);
        }
    }
    assert!(!guest.mux.takes_packets());
    assert_eq!(guest.mux.stream_count(), 512);
    assert_eq!(guest.ops().len(), 256);
    assert!(guest.mux.takes_packets());
    let (_client, _) = guest.open();
}

#[test]
fn streams_nobody_knows_are_reset_and_resets_are_not_answered() {
    let mut guest = Guest::new();
    for op in [Op::Response, Op::Data, Op::Shutdown, Op::CreditUpdate, Op::CreditRequest] {
        guest.send(op, 77, b"");
        let packets = guest.take();
        assert_eq!((packets[0].0.op, packets[0].0.src_port), (Some(Op::Reset), 77));
    }
    guest.send(Op::Reset, 77, &[]);
    assert!(guest.take().is_empty());
}

#[test]
fn a_driver_that_starts_afresh_ends_its_streams() {
    let mut guest = Guest::new();
    let (mut client, _) = guest.open();
    guest.mux.forget_guest();
    assert_eq!(rest(&mut client), b"");
    assert_eq!(guest.mux.stream_count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random packets, random clients, a jumping clock: no panic, bounded state, and an honest
    /// stream afterwards still works.
    #[test]
    fn no_sequence_of_packets_breaks_the_device(
        steps in prop::collection::vec(
            (0u8..12, 0u32..4, 0u32..3, any::<u32>(), any::<u32>(), 0usize..3000, any::<u16>()),
            1..200,
        )
    ) {
        let mut guest = Guest::new();
        let _service = guest.listen(1);
        let mut clients = Vec::new();
        for (action, low_port, guest_port, a, b, len, raw_op) in steps {
            let host_port = if low_port == 0 { 1 } else { (1 << 30) + low_port - 1 };
            let ops = [
                Op::Request, Op::Response, Op::Reset, Op::Shutdown, Op::Data,
                Op::CreditUpdate, Op::CreditRequest,
            ];
            match action {
                0..=6 => {
                    let header = Header {
                        len: if a % 5 == 0 { b } else { len as u32 },
                        flags: a % 8,
                        buf_alloc: if b % 3 == 0 { a } else { CREDIT },
                        fwd_cnt: if b % 4 == 0 { b } else { 0 },
                        op: if raw_op % 50 == 0 { None } else { Some(ops[usize::from(action)]) },
                        kind: if raw_op % 40 == 1 { raw_op } else { TYPE_STREAM },
                        ..guest.header(Op::Data, host_port, guest_port)
                    };
                    if guest.mux.takes_packets() {
                        guest.mux.receive(&header, &mut &vec![1; len][..], guest.now);
                    }
                }
                7 => {
                    let mut client = guest.client();
                    client.set_nonblocking(true).unwrap();
                    let _ = write!(client, "CONNECT {guest_port}\n{a}");
                    clients.push(client);
                }
                8 => drop(clients.pop()),
                9 => {
                    for client in &mut clients {
                        let _ = client.write(&vec![2; len]);
                        let _ = client.read(&mut vec![0; len]);
                    }
                }
                10 => guest.later(u64::from(a % 12)),
                _ => drop(guest.take()),
            }
        }
        guest.take();
        guest.open();
    }
}
