//! The fixed structures, little-endian.

use std::collections::BTreeMap;

use pyro_format::{Device, DeviceKind};

use super::plan::{Inode, Kind, Plan};
use crate::error::{Error, Result};

/// Where the superblock is.
pub(super) const SUPERBLOCK: u64 = 1024;
pub(super) const SUPERBLOCK_LEN: u64 = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// Times of inodes are those of their content.
const FEATURE_COMPAT_MTIME: u32 = 2;
/// log2 of the block size.
const BLOCK_BITS: u8 = 12;
/// Names pyro's images; equal trees have equal images, so it is the same for all.
const UUID: [u8; 16] = *b"pyro-rootfs-\0\0\0\x01";

/// `struct erofs_inode_extended`.
pub(super) const INODE_LEN: u64 = 64;
/// `i_format`: extended, and where the content is.
const EXTENDED: u16 = 1;
const PLAIN: u16 = 0;
const INLINE: u16 = 2;

/// `struct erofs_xattr_ibody_header`.
const XATTR_HEADER: usize = 12;
/// What the first part of a name is shortened to.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }
    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
    /// Zeros up to this length.
    fn padded(&mut self, len: u64) -> Vec<u8> {
        self.0.resize(len as usize, 0);
        std::mem::take(&mut self.0)
    }
}

pub(super) fn superblock(plan: &Plan) -> Vec<u8> {
    let root = plan.inodes.first().map_or(0, Inode::nid) as u16;
    let mut out = Writer(Vec::new());
    // No checksum: the whole image is known by its hash.
    out.u32(MAGIC).u32(0).u32(FEATURE_COMPAT_MTIME).u8(BLOCK_BITS).u8(0).u16(root);
    out.u64(plan.inodes.len() as u64).u64(0).u32(0).u32(plan.blocks as u32);
    // Inodes are counted from the image's start; no attributes are shared.
    out.u32(0).u32(0).bytes(&UUID);
    out.padded(SUPERBLOCK_LEN)
}

pub(super) fn inode(inode: &Inode) -> Vec<u8> {
    let format = EXTENDED | (if inode.inline { INLINE } else { PLAIN }) << 1;
    let xattr_count = match inode.xattrs.len() {
        0 => 0,
        len => (len - XATTR_HEADER) / 4 + 1,
    };
    let kind = match inode.kind {
        Kind::File => 0o100_000,
        Kind::Directory => 0o040_000,
        Kind::Symlink => 0o120_000,
        Kind::Device(DeviceKind::Char) => 0o020_000,
        Kind::Device(DeviceKind::Block) => 0o060_000,
        Kind::Device(DeviceKind::Fifo) => 0o010_000,
    };
    let mode = kind | u16::from(inode.attributes.special_bits) << 9 | inode.mode;
    let place = inode.attributes.device.map_or(inode.block, device_number);
    let (uid, gid) = (inode.attributes.uid, inode.attributes.gid);
    let mut out = Writer(Vec::new());
    out.u16(format).u16(xattr_count as u16).u16(mode).u16(0).u64(inode.size).u32(place);
    out.u32(inode.number).u32(uid).u32(gid);
    out.u64(inode.mtime.secs as u64).u32(inode.mtime.nanos).u32(inode.links);
    let mut bytes = out.padded(INODE_LEN);
    bytes.extend_from_slice(&inode.xattrs);
    bytes
}

/// `new_encode_dev` of Linux, `include/linux/kdev_t.h`.
fn device_number(device: Device) -> u32 {
    let Device { major, minor, .. } = device;
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
}

/// The extended attributes that follow an inode; nothing if there are none.
pub(super) fn xattrs(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Vec<u8>> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let refused = |name: &[u8], why: &str| {
        let name = pyro_format::escape(name);
        Error::Image(format!("its extended attribute '{name}' {why}"))
    };
    let mut out = Writer(Vec::new());
    out.bytes(&[0; XATTR_HEADER]);
    for (name, value) in xattrs {
        let prefix = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
        let (prefix, index) = prefix.ok_or_else(|| refused(name, "is of an unknown kind"))?;
        let rest = &name[prefix.len()..];
        let len = u16::try_from(value.len()).map_err(|_| refused(name, "is too long"))?;
        out.u8(rest.len() as u8).u8(*index).u16(len).bytes(rest).bytes(value);
        let padded = out.0.len().next_multiple_of(4);
        out.0.resize(padded, 0);
    }
    // Their length is counted in 16 bits, in units of four bytes; beyond that no inode can have more.
    if out.0.len() > XATTR_HEADER + 4 * usize::from(u16::MAX - 1) {
        return Err(refused(b"...", "and the others are too long together"));
    }
    Ok(out.0)
}
