//! The initramfs a machine boots: the guest agent as `/init` and the kernel modules it loads.
//!
//! The format is cpio "newc" as the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`
//! defines it: per entry a header of `070701` and thirteen 8-digit hex fields, the name with a NUL, padding
//! to four bytes, the data, padding to four bytes. It is written uncompressed: under emulation
//! decompressing costs more than reading.

use std::fs;
use std::io::Write;

use crate::{Error, Kernel, Result};

const DIRECTORY: u32 = 0o040755;
const FILE: u32 = 0o100644;
const PROGRAM: u32 = 0o100755;
const CHARACTER_DEVICE: u32 = 0o020600;

/// Writes an initramfs to `out`: `/init` is `agent` (mode 0755); `/modules/NN-name.ko` are the kernel's
/// modules, `/modules/order` names them one a line in the order to load them, and `/modules/network`
/// those that a guest with a network loads after them; `/dev`, `/proc`, `/sys` and `/run` are empty
/// directories but for `/dev/console`.
///
/// # Errors
/// [`Error::Initramfs`] when `out` fails, [`Error::Io`] when a module cannot be read.
pub fn write_initramfs(out: &mut impl Write, agent: &[u8], kernel: &Kernel) -> Result<()> {
    let mut archive = Archive { out, inode: 0 };
    for dir in ["dev", "modules", "proc", "run", "sys"] {
        archive.entry(dir, DIRECTORY, (0, 0), &[])?;
    }
    // Without it the kernel starts init with no standard streams.
    archive.entry("dev/console", CHARACTER_DEVICE, (5, 1), &[])?;
    archive.entry("init", PROGRAM, (0, 0), agent)?;
    let mut index = 0;
    let network = kernel.network_modules.as_deref().unwrap_or_default();
    for (list, modules) in [("order", kernel.modules.as_slice()), ("network", network)] {
        let mut order = String::new();
        for path in modules {
            let stem = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                let problem = "not a file name".into();
                Error::Module { name: path.display().to_string(), problem }
            })?;
            let name = format!("{index:02}-{stem}");
            let bytes = fs::read(path).map_err(Error::io("read", path))?;
            archive.entry(&format!("modules/{name}"), FILE, (0, 0), &bytes)?;
            order.push_str(&name);
            order.push('\n');
            index += 1;
        }
        archive.entry(&format!("modules/{list}"), FILE, (0, 0), order.as_bytes())?;
    }
    archive.entry("TRAILER!!!", 0, (0, 0), &[])
}

struct Archive<'a, W: Write> {
    out: &'a mut W,
    inode: u32,
}

impl<W: Write> Archive<'_, W> {
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> Result<()> {
        let size = u32::try_from(data.len()).map_err(|_| {
            Error::Initramfs(std::io::Error::other(format!("{name} is larger than 4 GiB")))
        })?;
        self.inode += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let name_size = name.len() as u32 + 1;
        let mut bytes = b"070701".to_vec();
        let fields =
            [self.inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        for field in fields {
            bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.out.write_all(&bytes).map_err(Error::Initramfs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Modules<'a> = &'a [(&'a str, &'a [u8])];

    fn archive(agent: &[u8], modules: Modules, network: Modules) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let write = |modules: Modules| {
            let modules = modules.iter().map(|(name, bytes)| {
                let path = dir.path().join(name);
                fs::write(&path, bytes).unwrap();
                path
            });
            modules.collect()
        };
        let kernel = Kernel {
            version: "6.1".into(),
            release: "6.1.0".into(),
            vmlinux: dir.path().join("vmlinux"),
            modules: write(modules),
            network_modules: Some(write(network)),
        };
        let mut out = Vec::new();
        write_initramfs(&mut out, agent, &kernel).unwrap();
        out
    }

    #[test]
    fn initramfs_bytes_are_the_golden_ones() {
        let out = archive(b"#!", &[("fuse.ko", b"abcde")], &[]);
        let text = String::from_utf8(out).unwrap();
        // inode, mode, uid, gid, links, mtime, size, device (2), device node (2), name size, checksum
        let console = [
            "070701",
            "00000006",
            "00002180",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000005",
            "00000001",
            "0000000c",
            "00000000",
            "dev/console\0\0\0",
        ];
        assert!(text.contains(&console.concat()), "{text:?}");
        let init = [
            "070701",
            "00000007",
            "000081ed",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000002",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000005",
            "00000000",
            "init\0\0#!\0\0",
        ];
        assert!(text.contains(&init.concat()), "{text:?}");
        assert!(text.contains("modules/00-fuse.ko\0\0\0\0abcde\0\0\0"), "{text:?}");
        assert!(text.contains("modules/order\x0000-fuse.ko\n\0"), "{text:?}");
        assert!(text.len().is_multiple_of(4));
    }

    #[test]
    fn cpio_reads_the_initramfs_back() {
        let out = archive(b"agent", &[("b.ko", b"1"), ("a.ko", b"22")], &[("net.ko", b"333")]);
        // Walk it the way the kernel does.
        let (mut at, mut names) = (0, Vec::new());
        let hex = |at: usize| {
            usize::from_str_radix(std::str::from_utf8(&out[at..at + 8]).unwrap(), 16).unwrap()
        };
        loop {
            assert_eq!(&out[at..at + 6], b"070701");
            let (size, name_size) = (hex(at + 6 + 8 * 6), hex(at + 6 + 8 * 11));
            let name = &out[at + 110..at + 110 + name_size - 1];
            if name == b"TRAILER!!!" {
                break;
            }
            let data = (at + 110 + name_size).next_multiple_of(4);
            names.push((String::from_utf8(name.to_vec()).unwrap(), &out[data..data + size]));
            at = (data + size).next_multiple_of(4);
        }
        let files: Vec<_> = names.iter().filter(|(_, data)| !data.is_empty()).collect();
        assert_eq!(files.len(), 6);
        assert_eq!(*files[0], ("init".into(), &b"agent"[..]));
        assert_eq!(*files[1], ("modules/00-b.ko".into(), &b"1"[..]));
        assert_eq!(*files[3], ("modules/order".into(), &b"00-b.ko\n01-a.ko\n"[..]));
        assert_eq!(*files[4], ("modules/02-net.ko".into(), &b"333"[..]));
        assert_eq!(*files[5], ("modules/network".into(), &b"02-net.ko\n"[..]));
    }
}
