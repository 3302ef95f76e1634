//! Takes the ELF kernel out of a bzImage.
//!
//! Source: the kernel's `Documentation/arch/x86/boot.rst`. Debian's cloud kernel is compressed with lz4;
//! other flavours and releases use xz, gzip or zstd.

use std::io::Read;

use crate::{Error, Result};

/// An unpacked kernel larger than this is refused. Debian's are about 60 MiB.
const MAX_VMLINUX: usize = 256 << 20;

/// What an xz or zstd decoder may allocate for its window; kernels use 32 MiB for xz, 128 for zstd.
const MAX_WINDOW: u64 = 192 << 20;

const SETUP_SECTS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const PROTOCOL_VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The uncompressed ELF kernel (`vmlinux`) inside the bzImage `image`.
///
/// # Errors
/// [`Error::Kernel`] when `image` is not a bzImage of boot protocol 2.08 or later, its payload is
/// damaged, compressed in an unknown way, larger than 256 MiB, or no ELF file.
pub fn extract_vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    let payload = payload(image)?;
    // For every format the build appends the size (in gzip's case it is the format's own trailer).
    let size = u32_at(payload, payload.len().saturating_sub(4))? as usize;
    if size > MAX_VMLINUX {
        return Err(bad(format!("unpacked it would take {size} bytes")));
    }
    let mut vmlinux = Vec::new();
    let mut unpack = |decoder: &mut dyn Read| {
        decoder.take(size as u64 + 1).read_to_end(&mut vmlinux).map(|_| ()).map_err(damaged)
    };
    match payload {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_WINDOW, 0)
                .map_err(|error| bad(format!("no xz decoder: {error}")))?;
            unpack(&mut liblzma::read::XzDecoder::new_stream(payload, stream))?;
        }
        [0x1f, 0x8b, 0x08, ..] => unpack(&mut flate2::read::GzDecoder::new(payload))?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::new(payload).map_err(damaged)?.single_frame();
            decoder.window_log_max(MAX_WINDOW.ilog2()).map_err(damaged)?;
            unpack(&mut decoder)?;
        }
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => {
            vmlinux = unpack_lz4(&blocks[..blocks.len().saturating_sub(4)], size)?;
        }
        _ => {
            let magic = &payload[..payload.len().min(6)];
            return Err(bad(format!(
                "its payload begins with {magic:02x?}: not lz4, xz, gzip or zstd"
            )));
        }
    }
    if vmlinux.len() != size {
        return Err(bad(format!("its payload should unpack to {size} bytes but does not")));
    }
    if !vmlinux.starts_with(b"\x7fELF") {
        return Err(bad("its payload is no ELF file".into()));
    }
    Ok(vmlinux)
}

/// The lz4 tool's "legacy" format after its magic: blocks of at most 8 MiB, each after its compressed size.
fn unpack_lz4(mut blocks: &[u8], size: usize) -> Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let mut out = Vec::new();
    let mut block = vec![0; BLOCK.min(size)];
    while let Some((length, rest)) = blocks.split_first_chunk::<4>() {
        let compressed = rest.get(..u32::from_le_bytes(*length) as usize);
        let compressed = compressed.ok_or_else(|| bad("its payload is cut short".into()))?;
        let length = lz4_flex::block::decompress_into(compressed, &mut block)
            .map_err(|error| bad(format!("its payload is damaged: {error}")))?;
        if length == 0 || out.len() + length > size {
            return Err(bad(format!("its payload does not unpack to {size} bytes")));
        }
        out.extend_from_slice(&block[..length]);
        blocks = &rest[compressed.len()..];
    }
    Ok(out)
}

/// The compressed part of a bzImage.
fn payload(image: &[u8]) -> Result<&[u8]> {
    if image.get(HEADER_MAGIC..HEADER_MAGIC + 4) != Some(b"HdrS") {
        return Err(bad("it is no bzImage".into()));
    }
    let version = u32_at(image, PROTOCOL_VERSION)? as u16;
    if version < 0x208 {
        return Err(bad(format!("its boot protocol {version:#x} is older than 2.08")));
    }
    let setup_sectors = match image[SETUP_SECTS] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + u32_at(image, PAYLOAD_OFFSET)? as usize;
    let end = start + u32_at(image, PAYLOAD_LENGTH)? as usize;
    image.get(start..end).ok_or_else(|| bad("it is cut short".into()))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    field.map(|field| u32::from_le_bytes(*field)).ok_or_else(|| bad("it is cut short".into()))
}

fn bad(problem: String) -> Error {
    Error::Kernel(problem)
}

fn damaged(error: std::io::Error) -> Error {
    bad(format!("its payload is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn bzimage(payload: &[u8], size: u32) -> Vec<u8> {
        let mut image = vec![0; 2 * 512 + 16];
        image[SETUP_SECTS] = 1;
        image[HEADER_MAGIC..HEADER_MAGIC + 4].copy_from_slice(b"HdrS");
        image[PROTOCOL_VERSION..PROTOCOL_VERSION + 2].copy_from_slice(&[0x0f, 0x02]);
        image[PAYLOAD_OFFSET] = 16;
        let length = payload.len() as u32 + 4;
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(&size.to_le_bytes());
        image
    }

    fn elf() -> Vec<u8> {
        let mut elf = b"\x7fELF".to_vec();
        elf.extend((0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()));
        elf
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0x02, 0x21, 0x4c, 0x18];
        for block in bytes.chunks(8 << 20) {
            let block = lz4_flex::block::compress(block);
            out.extend_from_slice(&(block.len() as u32).to_le_bytes());
            out.extend_from_slice(&block);
        }
        out
    }

    #[test]
    fn every_compression_yields_the_same_kernel() {
        let elf = elf();
        let size = elf.len() as u32;
        for payload in [lz4(&elf), xz(&elf), gzip(&elf), zstd::encode_all(&elf[..], 1).unwrap()] {
            assert_eq!(extract_vmlinux(&bzimage(&payload, size)).unwrap(), elf);
        }
    }

    #[test]
    fn lz4_kernels_of_several_blocks_are_joined() {
        let mut elf = b"\x7fELF".to_vec();
        elf.resize((17 << 20) + 3, 5);
        assert_eq!(extract_vmlinux(&bzimage(&lz4(&elf), elf.len() as u32)).unwrap(), elf);
    }

    #[test]
    fn a_kernel_larger_than_it_says_is_refused() {
        let bomb = xz(&[0; 4 << 20]);
        let error = extract_vmlinux(&bzimage(&bomb, 100)).unwrap_err().to_string();
        assert!(error.contains("should unpack to 100 bytes"), "{error}");
        let error = extract_vmlinux(&bzimage(&lz4(&[0; 4 << 20]), 100)).unwrap_err().to_string();
        assert!(error.contains("payload"), "{error}");
        let error = extract_vmlinux(&bzimage(&bomb, u32::MAX)).unwrap_err().to_string();
        assert!(error.contains("4294967295"), "{error}");
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        let reason = |image: &[u8]| extract_vmlinux(image).unwrap_err().to_string();
        assert!(reason(b"").contains("no bzImage"));
        assert!(reason(&bzimage(b"BZh91AY", 0)).contains("not lz4, xz, gzip or zstd"));
        assert!(reason(&bzimage(&xz(b"text"), 4)).contains("no ELF"));
        let image = bzimage(&xz(&elf()), elf().len() as u32);
        assert!(reason(&image[..image.len() - 1]).contains("cut short"));
    }

    proptest! {
        #[test]
        fn hostile_images_never_panic(
            with_lz4: bool,
            at in 0usize..2000,
            byte: u8,
            cut in 0usize..4000,
        ) {
            let elf = elf();
            let payload = if with_lz4 { lz4(&elf) } else { xz(&elf) };
            let mut image = bzimage(&payload, elf.len() as u32);
            let last = image.len() - 1;
            image[at.min(last)] = byte;
            image.truncate(image.len().saturating_sub(cut / 2));
            let _ = extract_vmlinux(&image);
        }
    }
}
