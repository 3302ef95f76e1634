//! The virtio-vsock packet header (VIRTIO 1.2, section 5.10.6).

/// Size of the header on the wire, in bytes.
pub(crate) const HEADER_LEN: usize = 44;
/// The largest payload of one packet, as Linux has it.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;
/// The host's context id.
pub(crate) const HOST_CID: u64 = 2;
/// The only socket type served.
pub(crate) const TYPE_STREAM: u16 = 1;

/// Flag of a SHUTDOWN: the sender will receive no more.
pub(crate) const SHUTDOWN_RECV: u32 = 1;
/// Flag of a SHUTDOWN: the sender will send no more.
pub(crate) const SHUTDOWN_SEND: u32 = 2;
/// Both directions are over.
pub(crate) const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECV | SHUTDOWN_SEND;

/// What a packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Request,
    Response,
    Reset,
    Shutdown,
    Data,
    CreditUpdate,
    CreditRequest,
}

impl Op {
    fn from_wire(raw: u16) -> Option<Op> {
        Some(match raw {
            1 => Op::Request,
            2 => Op::Response,
            3 => Op::Reset,
            4 => Op::Shutdown,
            5 => Op::Data,
            6 => Op::CreditUpdate,
            7 => Op::CreditRequest,
            _ => return None,
        })
    }

    fn to_wire(self) -> u16 {
        match self {
            Op::Request => 1,
            Op::Response => 2,
            Op::Reset => 3,
            Op::Shutdown => 4,
            Op::Data => 5,
            Op::CreditUpdate => 6,
            Op::CreditRequest => 7,
        }
    }
}

/// One decoded header. `op` is `None` for a number the specification does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) src_cid: u64,
    pub(crate) dst_cid: u64,
    pub(crate) src_port: u32,
    pub(crate) dst_port: u32,
    /// Payload length in bytes.
    pub(crate) len: u32,
    pub(crate) kind: u16,
    pub(crate) op: Option<Op>,
    pub(crate) flags: u32,
    /// The sender's receive buffer, in bytes.
    pub(crate) buf_alloc: u32,
    /// Bytes the sender's application has consumed, modulo 2^32.
    pub(crate) fwd_cnt: u32,
}

impl Header {
    /// Decodes a header; any 44 bytes are one.
    pub(crate) fn decode(raw: &[u8; HEADER_LEN]) -> Header {
        Header {
            src_cid: u64_at(raw, 0),
            dst_cid: u64_at(raw, 8),
            src_port: u32_at(raw, 16),
            dst_port: u32_at(raw, 20),
            len: u32_at(raw, 24),
            kind: u16_at(raw, 28),
            op: Op::from_wire(u16_at(raw, 30)),
            flags: u32_at(raw, 32),
            buf_alloc: u32_at(raw, 36),
            fwd_cnt: u32_at(raw, 40),
        }
    }

    /// Encodes the header, little endian.
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut raw = [0; HEADER_LEN];
        raw[0..8].copy_from_slice(&self.src_cid.to_le_bytes());
        raw[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        raw[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        raw[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        raw[24..28].copy_from_slice(&self.len.to_le_bytes());
        raw[28..30].copy_from_slice(&self.kind.to_le_bytes());
        raw[30..32].copy_from_slice(&self.op.map_or(0, Op::to_wire).to_le_bytes());
        raw[32..36].copy_from_slice(&self.flags.to_le_bytes());
        raw[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        raw[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        raw
    }

    /// The RST that answers this packet.
    pub(crate) fn reset(&self) -> Header {
        Header {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            len: 0,
            kind: self.kind,
            op: Some(Op::Reset),
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        }
    }
}

fn u16_at(raw: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([raw[at], raw[at + 1]])
}

fn u32_at(raw: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

fn u64_at(raw: &[u8; HEADER_LEN], at: usize) -> u64 {
    u64::from(u32_at(raw, at)) | u64::from(u32_at(raw, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_decode_and_known_ops_encode_back(raw in prop::array::uniform32(any::<u8>()), tail in prop::array::uniform12(any::<u8>())) {
            let mut bytes = [0; HEADER_LEN];
            bytes[..32].copy_from_slice(&raw);
            bytes[32..].copy_from_slice(&tail);
            let header = Header::decode(&bytes);
            if header.op.is_some() {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
