//! The answer to a frame that may not pass, so that a program fails at once and not by timeout.

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Ethernet2Slice, Icmpv4Type, Ipv4HeaderSlice, PacketBuilder};

use super::{GATEWAY_IP, GUEST_IP};

/// Bytes of the refused packet behind its header that an ICMP error repeats: by them the guest
/// finds the socket. Source: RFC 792.
const QUOTED: usize = 8;
const TIME_TO_LIVE: u8 = 64;

/// "Communication administratively prohibited", from the gateway: programs see `EHOSTUNREACH`, for
/// TCP and UDP alike. A TCP reset would look as if nobody listened there. `None` for what takes no
/// answer: all but the first fragment of a packet.
pub(super) fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let link = Ethernet2Slice::from_slice_without_fcs(frame).ok()?;
    let packet = link.payload_slice();
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    if header.fragments_offset().value() != 0 {
        return None;
    }
    let quoted = &packet[..packet.len().min(header.slice().len() + QUOTED)];
    // The frame was on its way to the gateway.
    let builder = PacketBuilder::ethernet2(link.destination(), link.source())
        .ipv4(GATEWAY_IP.octets(), GUEST_IP.octets(), TIME_TO_LIVE)
        .icmpv4(Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FilterProhibited));
    let mut answer = Vec::with_capacity(builder.size(quoted.len()));
    builder.write(&mut answer, quoted).ok()?;
    Some(answer)
}
