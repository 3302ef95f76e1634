//! What may pass: pure functions of a frame and this host's own addresses.
//!
//! The guest reaches public IPv4 addresses by TCP, UDP and ICMP echo, and the host's resolver by the
//! name server's address, port 53. It reaches nothing else: slirp opens sockets on the host, for
//! which the host's loopback, its networks and whatever trusts it are a connect away. What is not
//! understood does not pass.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use etherparse::{
    ArpHardwareId, ArpOperation, EtherType, Icmpv4Type, IpNumber, Ipv4Slice, LinkSlice, NetSlice,
    SlicedPacket, TransportSlice,
};

use super::{GATEWAY_IP, GUEST_IP, NAMESERVER_IP};

/// Longest frame: the card's MTU and an Ethernet header. Slirp's is the same.
const MAX_FRAME: usize = 1500 + 14;

const DNS: u16 = 53;

/// Addresses that are nobody's on the public internet, or nobody's that a guest should meet: what
/// the IANA registry of special-purpose addresses calls not globally reachable, and multicast.
/// Source: RFC 6890 and its registry.
const FORBIDDEN: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Shared by carriers with their customers; some clouds' metadata.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local; most clouds' metadata, with the host's credentials.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Azure's metadata, which is public by number only: a host answers its own VMs there.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation: never routed, so that whoever uses them does so privately.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// What becomes of a frame of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Pass,
    /// It does not, and the guest is told.
    Refuse,
    /// It does not: an answer would be wrong, or nobody waits for one.
    Drop,
}

/// Judges a frame that the guest sends.
pub(super) fn from_guest(frame: &[u8], own: &BTreeSet<Ipv4Addr>) -> Verdict {
    let Some(packet) = parse(frame) else { return Verdict::Drop };
    let ip = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => ip,
        Some(NetSlice::Arp(_)) if is_arp(&packet, Some(GUEST_IP)) => return Verdict::Pass,
        _ => return Verdict::Drop,
    };
    let to = ip.header().destination_addr();
    // Nobody else's address: slirp would believe it. And no error answers what went to many.
    if ip.header().source_addr() != GUEST_IP || to.is_multicast() || to.is_broadcast() {
        return Verdict::Drop;
    }
    // Slirp puts fragments together, and no program of today needs it to; a part of the rules looks
    // at ports, which only the first fragment has. Options may say where a packet is to go.
    let plain = !ip.header().is_fragmenting_payload() && ip.header().options().is_empty();
    let reachable = plain
        && match (&packet.transport, to) {
            (Some(TransportSlice::Tcp(tcp)), NAMESERVER_IP) => tcp.destination_port() == DNS,
            (Some(TransportSlice::Udp(udp)), NAMESERVER_IP) => udp.destination_port() == DNS,
            (Some(TransportSlice::Tcp(_) | TransportSlice::Udp(_)), _) => is_public(to, own),
            (Some(TransportSlice::Icmpv4(icmp)), _) => match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(_) => is_public(to, own),
                // An answer or an error: an error about it would be one too many.
                _ => return Verdict::Drop,
            },
            _ => false,
        };
    if reachable { Verdict::Pass } else { Verdict::Refuse }
}

/// Whether a frame of slirp may reach the guest. Slirp takes datagrams from whoever finds its
/// sockets, this host's programs and neighbours among them.
pub(super) fn to_guest(frame: &[u8], own: &BTreeSet<Ipv4Addr>) -> bool {
    let Some(packet) = parse(frame) else { return false };
    let ip = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => ip,
        Some(NetSlice::Arp(_)) => return is_arp(&packet, None),
        _ => return false,
    };
    let from = ip.header().source_addr();
    ip.header().destination_addr() == GUEST_IP
        && match (&packet.transport, from) {
            // What could not be delivered, says slirp.
            (Some(TransportSlice::Icmpv4(_)), GATEWAY_IP) => true,
            (Some(TransportSlice::Tcp(tcp)), NAMESERVER_IP) => tcp.source_port() == DNS,
            (Some(TransportSlice::Udp(udp)), NAMESERVER_IP) => udp.source_port() == DNS,
            // Slirp cuts long datagrams: all but the first part have no ports.
            (None, NAMESERVER_IP) => is_fragment_of(ip, &[IpNumber::UDP]),
            (None, _) => {
                is_fragment_of(ip, &[IpNumber::UDP, IpNumber::ICMP]) && is_public(from, own)
            }
            (
                Some(TransportSlice::Tcp(_) | TransportSlice::Udp(_) | TransportSlice::Icmpv4(_)),
                _,
            ) => is_public(from, own),
            _ => false,
        }
}

/// A frame that is whole in all its layers, without VLAN tags and the like.
fn parse(frame: &[u8]) -> Option<SlicedPacket<'_>> {
    if frame.len() > MAX_FRAME {
        return None;
    }
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    packet.link_exts.is_empty().then_some(packet)
}

/// Whether this is ARP between IPv4 and Ethernet, sent in the name of `sender` and of nobody else.
fn is_arp(packet: &SlicedPacket<'_>, sender: Option<Ipv4Addr>) -> bool {
    let (Some(LinkSlice::Ethernet2(link)), Some(NetSlice::Arp(arp))) = (&packet.link, &packet.net)
    else {
        return false;
    };
    arp.hw_addr_type() == ArpHardwareId::ETHERNET
        && arp.proto_addr_type() == EtherType::IPV4
        && (arp.hw_addr_size(), arp.proto_addr_size()) == (6, 4)
        && matches!(arp.operation(), ArpOperation::REQUEST | ArpOperation::REPLY)
        && arp.sender_hw_addr() == link.source()
        && sender.is_none_or(|sender| arp.sender_protocol_addr() == sender.octets())
}

fn is_fragment_of(ip: &Ipv4Slice<'_>, protocols: &[IpNumber]) -> bool {
    ip.header().is_fragmenting_payload() && protocols.contains(&ip.header().protocol())
}

/// Whether an address is somebody's on the public internet, and not this host's.
fn is_public(address: Ipv4Addr, own: &BTreeSet<Ipv4Addr>) -> bool {
    let within = |(net, bits): &(Ipv4Addr, u32)| {
        let differs = address.to_bits() ^ net.to_bits();
        differs.leading_zeros() >= *bits
    };
    !FORBIDDEN.iter().any(within) && !own.contains(&address)
}
