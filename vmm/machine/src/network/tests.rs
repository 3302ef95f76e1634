//! The policy by tables and at random, and the filter between two sockets.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IpFragOffset, IpHeaders,
    IpNumber, Ipv4Header, NetSlice, PacketBuilder, SingleVlanHeader, SlicedPacket, TransportSlice,
    VlanHeader, VlanId,
};
use proptest::prelude::*;

use super::filter::Filter;
use super::host::OwnAddresses;
use super::policy::{Verdict, from_guest, to_guest};
use super::{GATEWAY_IP, GUEST_IP, NAMESERVER_IP, refusal};

const GUEST: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const GATEWAY: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
/// Somebody's on the public internet.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(8, 8, 4, 4);
/// This host's, among public ones.
const OWN: Ipv4Addr = Ipv4Addr::new(8, 8, 4, 5);

fn own() -> BTreeSet<Ipv4Addr> {
    BTreeSet::from([OWN])
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp(u16),
    Udp(u16),
    Ping,
    Pong,
}

fn packet(from: Ipv4Addr, to: Ipv4Addr, kind: Kind) -> Vec<u8> {
    frame(Ipv4Header::new(0, 64, IpNumber::TCP, from.octets(), to.octets()).unwrap(), kind)
}

/// A frame with this IP header; its length and its protocol follow from `kind`.
fn frame(ip: Ipv4Header, kind: Kind) -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2(GUEST, GATEWAY).ip(IpHeaders::Ipv4(ip, Default::default()));
    let mut frame = Vec::new();
    match kind {
        Kind::Tcp(port) => builder.tcp(port, port, 7, 1024).syn().write(&mut frame, b""),
        Kind::Udp(port) => builder.udp(port, port).write(&mut frame, b"data"),
        Kind::Ping => builder.icmpv4_echo_request(1, 2).write(&mut frame, b"data"),
        Kind::Pong => builder.icmpv4_echo_reply(1, 2).write(&mut frame, b"data"),
    }
    .unwrap();
    frame
}

fn arp(sender: Ipv4Addr, hardware: [u8; 6]) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &hardware,
        &sender.octets(),
        &[0; 6],
        &GATEWAY_IP.octets(),
    );
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(GUEST, [0xff; 6]).arp(packet.unwrap()).write(&mut frame).unwrap();
    frame
}

fn sent(to: Ipv4Addr, kind: Kind) -> Verdict {
    from_guest(&packet(GUEST_IP, to, kind), &own())
}

/// First and last address of everything that no guest may reach.
const UNREACHABLE: [(&str, &str); 18] = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.0.2.2"),
    ("10.0.2.4", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("8.8.4.5", "8.8.4.5"),
];

/// Neighbours of what is unreachable, and others.
const REACHABLE: [&str; 20] = [
    "1.0.0.0",
    "8.8.4.4",
    "8.8.4.6",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.255",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.20.0.0",
    "223.255.255.255",
];

fn is_unreachable(address: Ipv4Addr) -> bool {
    UNREACHABLE.iter().any(|(first, last)| {
        (first.parse::<Ipv4Addr>().unwrap()..=last.parse().unwrap()).contains(&address)
    })
}

#[test]
fn no_forbidden_range_is_reached_from_its_first_to_its_last_address() {
    for (first, last) in UNREACHABLE {
        for address in [first, last] {
            let address: Ipv4Addr = address.parse().unwrap();
            for kind in [Kind::Tcp(80), Kind::Udp(123), Kind::Tcp(53), Kind::Udp(53), Kind::Ping] {
                let many = address.is_multicast() || address.is_broadcast();
                let expected = if many { Verdict::Drop } else { Verdict::Refuse };
                assert_eq!(sent(address, kind), expected, "{address} {kind:?}");
                let reply = packet(address, GUEST_IP, kind);
                let from_slirp = address == GATEWAY_IP && matches!(kind, Kind::Ping);
                assert_eq!(to_guest(&reply, &own()), from_slirp, "{address} {kind:?}");
            }
        }
    }
}

#[test]
fn public_addresses_are_reached_and_answer() {
    for address in REACHABLE {
        let address = address.parse().unwrap();
        for kind in [Kind::Tcp(443), Kind::Udp(443), Kind::Udp(53), Kind::Ping] {
            assert_eq!(sent(address, kind), Verdict::Pass, "{address} {kind:?}");
        }
        for kind in [Kind::Tcp(443), Kind::Udp(443), Kind::Pong] {
            assert!(to_guest(&packet(address, GUEST_IP, kind), &own()), "{address} {kind:?}");
        }
    }
}

#[test]
fn the_name_server_answers_questions_and_nothing_else() {
    for kind in [Kind::Tcp(53), Kind::Udp(53)] {
        assert_eq!(sent(NAMESERVER_IP, kind), Verdict::Pass);
        assert!(to_guest(&packet(NAMESERVER_IP, GUEST_IP, kind), &own()));
    }
    for kind in [Kind::Tcp(22), Kind::Udp(54), Kind::Tcp(0x3500), Kind::Ping] {
        assert_eq!(sent(NAMESERVER_IP, kind), Verdict::Refuse, "{kind:?}");
        assert!(!to_guest(&packet(NAMESERVER_IP, GUEST_IP, kind), &own()), "{kind:?}");
    }
}

#[test]
fn a_host_that_has_no_address_of_its_own_there_makes_it_reachable() {
    assert_eq!(sent(OWN, Kind::Tcp(80)), Verdict::Refuse);
    let frame = packet(GUEST_IP, OWN, Kind::Tcp(80));
    assert_eq!(from_guest(&frame, &BTreeSet::new()), Verdict::Pass);
}

#[test]
fn nobody_speaks_in_anothers_name() {
    for other in [GATEWAY_IP, NAMESERVER_IP, PUBLIC, Ipv4Addr::LOCALHOST] {
        let frame = packet(other, PUBLIC, Kind::Udp(9));
        assert_eq!(from_guest(&frame, &own()), Verdict::Drop, "{other}");
        assert_eq!(from_guest(&arp(other, GUEST), &own()), Verdict::Drop, "{other}");
        assert!(!to_guest(&packet(PUBLIC, other, Kind::Udp(9)), &own()), "{other}");
    }
    assert_eq!(from_guest(&arp(GUEST_IP, GUEST), &own()), Verdict::Pass);
    assert_eq!(from_guest(&arp(GUEST_IP, GATEWAY), &own()), Verdict::Drop);
    assert!(to_guest(&arp(GATEWAY_IP, GUEST), &own()));
}

#[test]
fn fragments_and_options_are_refused() {
    let plain = || Ipv4Header::new(0, 64, IpNumber::UDP, GUEST_IP.octets(), PUBLIC.octets());
    let mut first = plain().unwrap();
    first.more_fragments = true;
    let mut later = plain().unwrap();
    later.fragment_offset = IpFragOffset::try_new(3).unwrap();
    let mut routed = plain().unwrap();
    // Loose source route by way of the host's loopback.
    routed.options = [131, 7, 4, 127, 0, 0, 1, 0].into();
    let mut nothing = plain().unwrap();
    nothing.options = [1, 1, 1, 0].into();
    for (header, is_answered) in [(first, true), (later, false), (routed, true), (nothing, true)] {
        let frame = frame(header, Kind::Udp(9));
        assert_eq!(from_guest(&frame, &own()), Verdict::Refuse);
        assert_eq!(refusal::answer(&frame).is_some(), is_answered);
    }
}

#[test]
fn long_answers_arrive_in_parts() {
    for (from, protocol, expected) in [
        (PUBLIC, IpNumber::UDP, true),
        (PUBLIC, IpNumber::ICMP, true),
        (PUBLIC, IpNumber::TCP, false),
        (NAMESERVER_IP, IpNumber::UDP, true),
        (NAMESERVER_IP, IpNumber::ICMP, false),
        (GATEWAY_IP, IpNumber::UDP, false),
        (OWN, IpNumber::UDP, false),
    ] {
        let mut header =
            Ipv4Header::new(8, 64, protocol, from.octets(), GUEST_IP.octets()).unwrap();
        header.fragment_offset = IpFragOffset::try_new(185).unwrap();
        let mut frame = Vec::new();
        let link =
            Ethernet2Header { source: GATEWAY, destination: GUEST, ether_type: EtherType::IPV4 };
        link.write(&mut frame).unwrap();
        header.header_checksum = header.calc_header_checksum();
        header.write(&mut frame).unwrap();
        frame.extend_from_slice(b"the rest");
        assert_eq!(to_guest(&frame, &own()), expected, "{from} {protocol:?}");
    }
}

#[test]
fn other_protocols_do_not_pass() {
    let mut ipv6 = Vec::new();
    PacketBuilder::ethernet2(GUEST, GATEWAY)
        .ipv6([0x20; 16], [0x20; 16], 64)
        .udp(9, 9)
        .write(&mut ipv6, b"data")
        .unwrap();
    let mut vlan = Vec::new();
    PacketBuilder::ethernet2(GUEST, GATEWAY)
        .vlan(VlanHeader::Single(SingleVlanHeader {
            pcp: Default::default(),
            drop_eligible_indicator: false,
            vlan_id: VlanId::ZERO,
            ether_type: EtherType::IPV4,
        }))
        .ipv4(GUEST_IP.octets(), PUBLIC.octets(), 64)
        .udp(9, 9)
        .write(&mut vlan, b"data")
        .unwrap();
    let mut sctp = packet(GUEST_IP, PUBLIC, Kind::Udp(9));
    sctp[14 + 9] = 132;
    let mut tunnel = packet(GUEST_IP, PUBLIC, Kind::Udp(9));
    tunnel[14 + 9] = 4;
    let mut pong = packet(GUEST_IP, PUBLIC, Kind::Pong);
    for (frame, expected) in [
        (&mut ipv6, Verdict::Drop),
        (&mut vlan, Verdict::Drop),
        (&mut sctp, Verdict::Refuse),
        (&mut tunnel, Verdict::Refuse),
        (&mut pong, Verdict::Drop),
    ] {
        assert_eq!(from_guest(frame, &own()), expected, "{frame:x?}");
    }
    for frame in [&ipv6, &vlan] {
        assert!(!to_guest(frame, &own()), "{frame:x?}");
    }
}

#[test]
fn frames_that_are_cut_short_or_too_long_do_not_pass() {
    for kind in [Kind::Tcp(80), Kind::Udp(80), Kind::Ping] {
        let whole = packet(GUEST_IP, PUBLIC, kind);
        for length in 0..whole.len() {
            assert_ne!(from_guest(&whole[..length], &own()), Verdict::Pass, "{kind:?} {length}");
        }
        // Ethernet fills short frames up; what is behind the packet belongs to nobody.
        let padded = [whole.clone(), vec![0; 46]].concat();
        assert_eq!(from_guest(&padded, &own()), Verdict::Pass);
        let long = [whole, vec![0; 1500]].concat();
        assert_eq!(from_guest(&long, &own()), Verdict::Drop);
    }
}

#[test]
fn a_refusal_is_an_icmp_error_from_the_gateway_that_names_the_packet() {
    let refused = packet(GUEST_IP, Ipv4Addr::new(192, 168, 0, 1), Kind::Tcp(22));
    let answer = refusal::answer(&refused).unwrap();
    assert_eq!((&answer[..6], &answer[6..12]), (&GUEST[..], &GATEWAY[..]));
    let parsed = SlicedPacket::from_ethernet(&answer).unwrap();
    let Some(NetSlice::Ipv4(ip)) = parsed.net else { panic!("no IP: {answer:x?}") };
    assert_eq!((ip.header().source_addr(), ip.header().destination_addr()), (GATEWAY_IP, GUEST_IP));
    let Some(TransportSlice::Icmpv4(icmp)) = parsed.transport else { panic!("{answer:x?}") };
    // Destination unreachable: communication administratively prohibited.
    assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 13));
    assert_eq!(icmp.payload(), &refused[14..14 + 20 + 8]);
    // Nor does the answer, which the guest may send back, ever get one itself.
    assert_eq!(from_guest(&answer, &own()), Verdict::Drop);
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        any::<u16>().prop_map(Kind::Tcp),
        any::<u16>().prop_map(Kind::Udp),
        Just(Kind::Tcp(53)),
        Just(Kind::Udp(53)),
        Just(Kind::Ping),
        Just(Kind::Pong),
    ]
}

fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    let ends = UNREACHABLE.iter().flat_map(|(first, last)| [*first, *last]).chain(REACHABLE);
    let ends: Vec<Ipv4Addr> = ends.map(|address| address.parse().unwrap()).collect();
    prop_oneof![
        any::<u32>().prop_map(Ipv4Addr::from_bits),
        Just(NAMESERVER_IP),
        proptest::sample::select(ends),
    ]
}

/// Whatever else is in a frame that passes: by its bytes alone it is the guest's ARP, or a plain
/// packet of the guest to an address that it may reach.
fn check_that_it_may_pass(frame: &[u8]) {
    match (&frame[12..14], &frame[14..]) {
        ([0x08, 0x06], arp) => assert_eq!(arp[14..18], GUEST_IP.octets()),
        ([0x08, 0x00], ip) => {
            assert_eq!(ip[0], 0x45);
            assert_eq!(u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff, 0, "a fragment");
            assert!([1, 6, 17].contains(&ip[9]));
            assert_eq!(ip[12..16], GUEST_IP.octets());
            let to = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
            if to == NAMESERVER_IP {
                assert!([6, 17].contains(&ip[9]));
                assert_eq!(ip[22..24], [0, 53]);
            } else {
                assert!(!is_unreachable(to), "{to}");
            }
        }
        _ => panic!("neither ARP nor IPv4"),
    }
}

proptest! {
    #[test]
    fn noise_neither_panics_nor_passes_by_mistake(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        if from_guest(&frame, &own()) == Verdict::Pass {
            check_that_it_may_pass(&frame);
        }
        to_guest(&frame, &own());
        refusal::answer(&frame);
    }

    #[test]
    fn what_passes_may_pass_however_it_was_bent(
        to in any_address(),
        kind in any_kind(),
        changes in proptest::collection::vec((0..60usize, any::<u8>()), 0..4),
        cut in 0..20usize,
    ) {
        let mut frame = packet(GUEST_IP, to, kind);
        let intact = changes.is_empty() && cut == 0;
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(frame.len() - cut);
        let verdict = from_guest(&frame, &own());
        if verdict == Verdict::Pass {
            check_that_it_may_pass(&frame);
        }
        if intact && !is_unreachable(to) && to != NAMESERVER_IP && !matches!(kind, Kind::Pong) {
            assert_eq!(verdict, Verdict::Pass);
        }
        to_guest(&frame, &own());
        refusal::answer(&frame);
    }
}

/// A running filter; the ends that QEMU would have.
struct Running {
    guest: UnixStream,
    slirp: UnixStream,
    filter: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start() -> Self {
        let (guest, guest_end) = UnixStream::pair().unwrap();
        let (slirp, slirp_end) = UnixStream::pair().unwrap();
        let own = OwnAddresses::read().unwrap();
        let mut filter = Filter::new(guest_end, slirp_end, own).unwrap();
        Self { guest, slirp, filter: thread::spawn(move || filter.run()) }
    }

    fn end(self) -> std::io::Result<()> {
        drop((self.guest, self.slirp));
        self.filter.join().unwrap()
    }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes(), frame].concat()
}

fn read_frame(from: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    from.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame).unwrap();
    frame
}

#[test]
fn the_filter_passes_on_in_order_and_answers_what_it_refuses() {
    let mut running = Running::start();
    let refused = packet(GUEST_IP, Ipv4Addr::LOCALHOST, Kind::Tcp(22));
    let all: Vec<_> = (0..200).map(|port| packet(GUEST_IP, PUBLIC, Kind::Udp(port))).collect();
    let mut bytes = Vec::new();
    for frame in &all {
        bytes.extend(framed(&refused));
        bytes.extend(framed(frame));
        bytes.extend(framed(b"noise"));
    }
    // In pieces that end anywhere.
    for piece in bytes.chunks(1000) {
        running.guest.write_all(piece).unwrap();
    }
    for frame in &all {
        assert_eq!(read_frame(&mut running.slirp), *frame);
        assert_eq!(Some(read_frame(&mut running.guest)), refusal::answer(&refused));
    }
    let reply = packet(PUBLIC, GUEST_IP, Kind::Udp(7));
    let stranger = packet(Ipv4Addr::LOCALHOST, GUEST_IP, Kind::Udp(7));
    running.slirp.write_all(&[framed(&stranger), framed(&reply)].concat()).unwrap();
    assert_eq!(read_frame(&mut running.guest), reply);
    running.end().unwrap();
}

#[test]
fn a_stream_that_makes_no_sense_ends_the_network() {
    let mut running = Running::start();
    running.guest.write_all(&u32::MAX.to_be_bytes()).unwrap();
    assert_eq!(running.slirp.read(&mut [0; 16]).unwrap(), 0, "both streams are closed");
    assert_eq!(running.guest.read(&mut [0; 16]).unwrap(), 0);
    assert!(running.end().unwrap_err().to_string().contains("4294967295 bytes"));
}

/// How much a writer gets rid of before nobody takes more.
fn fill(to: &mut UnixStream, frame: &[u8]) -> usize {
    to.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let bytes = framed(frame);
    (0..1_000_000).take_while(|_| to.write_all(&bytes).is_ok()).count() * bytes.len()
}

#[test]
fn a_side_that_does_not_read_holds_the_other_up_within_bounds() {
    const BOUND: usize = 4 << 20;
    let mut running = Running::start();
    let reply = packet(PUBLIC, GUEST_IP, Kind::Udp(7));
    assert!(fill(&mut running.slirp, &reply) < BOUND);
    // The other direction is as free as before, and refusals no longer pile up.
    let refused = packet(GUEST_IP, Ipv4Addr::LOCALHOST, Kind::Tcp(22));
    let question = packet(GUEST_IP, PUBLIC, Kind::Udp(7));
    for _ in 0..50_000 {
        running.guest.write_all(&framed(&refused)).unwrap();
    }
    running.guest.write_all(&framed(&question)).unwrap();
    assert_eq!(read_frame(&mut running.slirp), question);
    running.end().unwrap();
}
