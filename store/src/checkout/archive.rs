//! A tree as a tar archive (GNU: long names as `././@LongLink` entries), entries in the order of their
//! names, owned by root, without setuid and its like.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pyro_format::{Mtime, Node, TimesNode, TreePath};
use tar::{Builder, EntryType, Header};

use super::{CheckoutItem, CheckoutReport};
use crate::error::{Error, IoContext, Result};
use crate::outfile;
use crate::progress::{self, Progress};
use crate::store::Store;

/// Bytes written at once.
const BUFFER: usize = 256 << 10;
/// Longest link target in a header, in bytes.
const SHORT: usize = 100;

impl Store {
    /// Writes `item`, a directory, as an archive of what is in it. Content is verified on the way.
    pub fn archive(
        &self,
        item: &CheckoutItem,
        out: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<CheckoutReport> {
        let mut archive =
            Archive { store: self, out: Builder::new(out), progress, report: Default::default() };
        archive.below(item, &TreePath::default())?;
        archive.out.finish().map_err(failed)?;
        Ok(archive.report)
    }
}

impl Store {
    /// The same to a file, which appears when it is complete and durable; with `force` it may replace
    /// one.
    pub fn archive_to(
        &self,
        item: &CheckoutItem,
        dest: &Path,
        force: bool,
        progress: &dyn Progress,
    ) -> Result<CheckoutReport> {
        outfile::write(dest, force, |temp| {
            let mut out = BufWriter::with_capacity(BUFFER, temp);
            let report = self.archive(item, &mut out, progress)?;
            out.flush().at("write", dest)?;
            Ok(report)
        })
    }
}

struct Archive<'a> {
    store: &'a Store,
    out: Builder<&'a mut dyn Write>,
    progress: &'a dyn Progress,
    report: CheckoutReport,
}

impl Archive<'_> {
    fn below(&mut self, item: &CheckoutItem, at: &TreePath) -> Result<()> {
        let Node::Dir { tree, .. } = item.node else { return self.entry(item, at) };
        let tree = self.store.get_tree(tree)?;
        let times = match item.times.and_then(|times| times.children) {
            Some(children) => self.store.get_times(children)?,
            None => TimesNode::default(),
        };
        for (place, entry) in tree.entries().iter().enumerate() {
            progress::check(self.progress)?;
            let times = times.entries.get(place).copied();
            let item = CheckoutItem { node: entry.node.clone(), times };
            let path = at.join(&entry.name);
            self.entry(&item, &path)?;
            if matches!(item.node, Node::Dir { .. }) {
                self.below(&item, &path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, item: &CheckoutItem, at: &TreePath) -> Result<()> {
        let mtime = item.times.map_or_else(Mtime::default, |times| times.mtime);
        let mut header = Header::new_gnu();
        header.set_mtime(u64::try_from(mtime.secs).unwrap_or(0));
        header.set_uid(0);
        header.set_gid(0);
        let path = Path::new(OsStr::from_bytes(at.as_bytes()));
        let mut bytes = 0;
        match &item.node {
            Node::File { mode, size, content } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(u32::from(mode.bits()) & 0o777);
                header.set_size(*size);
                let file = self.store.open_file(*content, *size)?;
                self.out.append_data(&mut header, path, file.take(*size)).map_err(failed)?;
                bytes = *size;
            }
            Node::Dir { mode, .. } => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(u32::from(mode.bits()) & 0o777);
                header.set_size(0);
                self.out.append_data(&mut header, path, io::empty()).map_err(failed)?;
            }
            Node::Symlink { target } => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                self.target(&mut header, target.as_bytes())?;
                self.out.append_data(&mut header, path, io::empty()).map_err(failed)?;
            }
        }
        self.report.entry_count += 1;
        self.report.bytes_written += bytes;
        self.progress.advance(1, bytes);
        Ok(())
    }

    /// Where a link points, byte for byte: the header's field, or an entry before it.
    fn target(&mut self, header: &mut Header, target: &[u8]) -> Result<()> {
        if target.len() <= SHORT {
            return header.set_link_name_literal(target).map_err(failed);
        }
        let mut long = Header::new_gnu();
        long.set_entry_type(EntryType::GNULongLink);
        long.set_path("././@LongLink").map_err(failed)?;
        long.set_mode(0o644);
        long.set_size(target.len() as u64 + 1);
        long.set_cksum();
        self.out.append(&long, [target, b"\0"].concat().as_slice()).map_err(failed)?;
        header.set_link_name_literal(&target[..SHORT]).map_err(failed)
    }
}

/// Errors of the store come wrapped in those of its reader.
fn failed(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Io { action: "write", path: "the archive".into(), source },
    }
}
