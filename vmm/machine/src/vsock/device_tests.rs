//! The whole device behind a vhost-user connection, with a driver that the tests script.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::dir::SocketDir;
use super::mux::GUEST_CID;
use super::packet::*;
use super::{SOCKET, VsockDevice};

const MEMORY: usize = 1 << 20;
const RING: u16 = 16;
const RX: usize = 0;
const TX: usize = 1;
/// Where the rings and the buffers of each queue lie.
const RINGS: [u64; 2] = [0x1000, 0x8000];
const BUFFERS: [u64; 2] = [0x10000, 0x40000];
const BUFFER_LEN: u32 = 4096;
const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;

type Descriptor = (u64, u32, u16, u16);

struct Driver {
    memory: GuestMemoryMmap,
    front: Frontend,
    kicks: [EventFd; 2],
    calls: [EventFd; 2],
    offered: [u16; 2],
    used: [u16; 2],
    dir: tempfile::TempDir,
    device: VsockDevice,
}

impl Driver {
    fn new() -> Driver {
        let dir = tempfile::tempdir().unwrap();
        let sockets = SocketDir::open(dir.path()).unwrap();
        let (device, plug) = VsockDevice::start(sockets, Box::new(|| {})).unwrap();
        let fd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        file.set_len(MEMORY as u64).unwrap();
        let range = (GuestAddress(0), MEMORY, Some(FileOffset::new(file, 0)));
        let memory = GuestMemoryMmap::from_ranges_with_files([range]).unwrap();
        let front = Frontend::from_stream(UnixStream::from(plug.vmm_end), 2);
        let events = || [EventFd::new(0).unwrap(), EventFd::new(0).unwrap()];
        let mut driver = Driver {
            memory,
            front,
            kicks: events(),
            calls: events(),
            offered: [0; 2],
            used: [0; 2],
            dir,
            device,
        };
        driver.set_up();
        let mut end = [0];
        assert_eq!(rustix::io::read(&plug.ready, &mut end).unwrap(), 0);
        driver
    }

    fn set_up(&mut self) {
        let front = &mut self.front;
        front.set_owner().unwrap();
        let offered = front.get_features().unwrap();
        // Version 1 and the protocol's own features; no event index.
        front.set_features(offered & (1 << 32 | 1 << 30)).unwrap();
        assert!(front.get_protocol_features().unwrap().contains(VhostUserProtocolFeatures::CONFIG));
        front.set_protocol_features(VhostUserProtocolFeatures::CONFIG).unwrap();
        let region = self.memory.find_region(GuestAddress(0)).unwrap();
        let base = region.as_ptr() as u64;
        let info = VhostUserMemoryRegionInfo::from_guest_region(region).unwrap();
        front.set_mem_table(&[info]).unwrap();
        for queue in [RX, TX] {
            let config = VringConfigData {
                queue_max_size: RING,
                queue_size: RING,
                flags: 0,
                desc_table_addr: base + RINGS[queue],
                used_ring_addr: base + RINGS[queue] + 0x2000,
                avail_ring_addr: base + RINGS[queue] + 0x1000,
                log_addr: None,
            };
            front.set_vring_num(queue, RING).unwrap();
            front.set_vring_addr(queue, &config).unwrap();
            front.set_vring_base(queue, 0).unwrap();
            front.set_vring_call(queue, &self.calls[queue]).unwrap();
            front.set_vring_kick(queue, &self.kicks[queue]).unwrap();
            front.set_vring_enable(queue, true).unwrap();
        }
    }

    /// Offers a chain whose descriptors are written to the table as they are, from slot `head`.
    fn offer(&mut self, queue: usize, head: u16, chain: &[Descriptor]) {
        for (slot, (addr, len, flags, next)) in (head..).zip(chain) {
            let at = GuestAddress(RINGS[queue] + u64::from(slot) * 16);
            let mut raw = [0; 16];
            raw[..8].copy_from_slice(&addr.to_le_bytes());
            raw[8..12].copy_from_slice(&len.to_le_bytes());
            raw[12..14].copy_from_slice(&flags.to_le_bytes());
            raw[14..].copy_from_slice(&next.to_le_bytes());
            self.memory.write_slice(&raw, at).unwrap();
        }
        let avail = RINGS[queue] + 0x1000;
        let slot = u64::from(self.offered[queue] % RING);
        self.memory.write_obj(head, GuestAddress(avail + 4 + slot * 2)).unwrap();
        self.offered[queue] = self.offered[queue].wrapping_add(1);
        self.memory.write_obj(self.offered[queue], GuestAddress(avail + 2)).unwrap();
        self.kicks[queue].write(1).unwrap();
    }

    /// Waits for the next used chain: its head and the bytes written to it.
    fn wait_used(&mut self, queue: usize) -> (u16, u32) {
        let used = RINGS[queue] + 0x2000;
        loop {
            let index: u16 = self.memory.read_obj(GuestAddress(used + 2)).unwrap();
            if index != self.used[queue] {
                let slot = u64::from(self.used[queue] % RING);
                let entry: [u32; 2] =
                    self.memory.read_obj(GuestAddress(used + 4 + slot * 8)).unwrap();
                self.used[queue] = self.used[queue].wrapping_add(1);
                return (entry[0] as u16, entry[1]);
            }
            self.calls[queue].read().unwrap();
        }
    }

    fn offer_rx(&mut self, slot: u16) {
        let at = BUFFERS[RX] + u64::from(slot) * u64::from(BUFFER_LEN);
        self.offer(RX, slot, &[(at, BUFFER_LEN, WRITE, 0)]);
    }

    /// The next packet from the device; its buffer is offered again.
    fn receive(&mut self) -> (Header, Vec<u8>) {
        let (slot, len) = self.wait_used(RX);
        let mut raw = vec![0; len as usize];
        let at = BUFFERS[RX] + u64::from(slot) * u64::from(BUFFER_LEN);
        self.memory.read_slice(&mut raw, GuestAddress(at)).unwrap();
        self.offer_rx(slot);
        let data = raw.split_off(HEADER_LEN);
        (Header::decode(&raw.try_into().unwrap()), data)
    }

    fn header(&self, op: Op, host_port: u32, len: u32) -> Header {
        Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: 1024,
            dst_port: host_port,
            len,
            kind: TYPE_STREAM,
            op: Some(op),
            flags: 0,
            buf_alloc: 64 * 1024,
            fwd_cnt: 0,
        }
    }

    /// Sends a packet as Linux does: one descriptor for the header and one for the data.
    fn send(&mut self, op: Op, host_port: u32, data: &[u8]) {
        let header = self.header(op, host_port, data.len() as u32).encode();
        let at = BUFFERS[TX];
        self.memory.write_slice(&header, GuestAddress(at)).unwrap();
        self.memory.write_slice(data, GuestAddress(at + 0x1000)).unwrap();
        let head = (at, HEADER_LEN as u32, NEXT, 1);
        match data.len() {
            0 => self.offer(TX, 0, &[(at, HEADER_LEN as u32, 0, 0)]),
            len => self.offer(TX, 0, &[head, (at + 0x1000, len as u32, 0, 0)]),
        }
        self.wait_used(TX);
    }

    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(self.dir.path().join(SOCKET)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    /// A whole stream: opened by the host, bytes both ways, closed by the host.
    fn exchange(&mut self) {
        let mut client = self.client();
        client.write_all(b"CONNECT 1024\n").unwrap();
        let (request, _) = self.receive();
        assert_eq!((request.op, request.dst_port), (Some(Op::Request), 1024));
        let port = request.src_port;
        self.send(Op::Response, port, &[]);
        let greeting = format!("OK {port}\n");
        let mut got = vec![0; greeting.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, greeting.as_bytes());
        client.write_all(b"to the guest").unwrap();
        let (header, data) = self.receive();
        assert_eq!((header.op, &data[..]), (Some(Op::Data), &b"to the guest"[..]));
        self.send(Op::Data, port, b"to the host");
        let mut got = [0; 11];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"to the host");
        drop(client);
        let (last, _) = self.receive();
        assert_eq!((last.op, last.flags), (Some(Op::Shutdown), SHUTDOWN_BOTH));
        self.send(Op::Reset, port, &[]);
    }
}

#[test]
fn streams_cross_real_virtqueues() {
    let mut driver = Driver::new();
    (0..8).for_each(|slot| driver.offer_rx(slot));
    for _ in 0..40 {
        driver.exchange();
    }
}

#[test]
fn a_client_that_comes_before_the_driver_is_served_when_it_is_up() {
    let mut driver = Driver::new();
    let mut client = driver.client();
    client.write_all(b"CONNECT 1024\n").unwrap();
    // The request waits for a buffer.
    driver.offer_rx(0);
    let (request, _) = driver.receive();
    assert_eq!(request.op, Some(Op::Request));
}

#[test]
fn malformed_chains_are_handed_back_and_honest_ones_still_work() {
    let mut driver = Driver::new();
    let at = BUFFERS[TX];
    let huge = driver.header(Op::Data, 1 << 30, u32::MAX).encode();
    driver.memory.write_slice(&huge, GuestAddress(at)).unwrap();
    let len = HEADER_LEN as u32;
    let chains: [&[Descriptor]; 9] = [
        &[(at, 0, 0, 0)],
        &[(at, 10, 0, 0)],
        &[(at, len, WRITE, 0)],
        &[(u64::MAX - 8, len, 0, 0)],
        &[(MEMORY as u64 - 4, len, 0, 0)],
        &[(at, len, NEXT, 0)],
        &[(at, len, NEXT, 999)],
        &[(at, len, NEXT, 1), (at, u32::MAX, NEXT, 0)],
        &[(at, len, NEXT, 1), (at + 0x1000, 100, 0, 0)],
    ];
    for chain in chains {
        driver.offer(TX, 0, chain);
        assert_eq!(driver.wait_used(TX).0, 0, "{chain:?}");
    }
    // Buffers that cannot hold a header are of no use while a packet waits.
    let mut client = driver.client();
    client.write_all(b"CONNECT 9\n").unwrap();
    let chains: [&[Descriptor]; 3] =
        [&[(BUFFERS[RX], 20, WRITE, 0)], &[(BUFFERS[RX], 4096, 0, 0)], &[(u64::MAX, 64, WRITE, 0)]];
    for chain in chains {
        driver.offer(RX, 0, chain);
        assert_eq!(driver.wait_used(RX), (0, 0), "{chain:?}");
    }
    (0..4).for_each(|slot| driver.offer_rx(slot));
    // The resets of what came before, then the client's request.
    while driver.receive().0.op != Some(Op::Request) {}
    driver.exchange();
}

#[test]
fn a_dropped_device_takes_its_socket_and_its_threads_along() {
    let driver = Driver::new();
    let mut client = driver.client();
    drop(driver.device);
    assert!(!driver.dir.path().join(SOCKET).exists());
    let mut rest = Vec::new();
    assert!(matches!(client.read_to_end(&mut rest), Ok(0)) || rest.is_empty());
}
