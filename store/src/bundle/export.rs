//! Writing a bundle.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use pyro_format::BaselineId;
use tempfile::NamedTempFile;

use super::{BundleReport, HEADER, Manifest};
use crate::error::{Error, IoContext, Result};
use crate::marks::Marks;
use crate::object::Kind;
use crate::outfile;
use crate::pack::{
    CONTENT_FRAME, Effort, EncodedFrame, FrameBuilder, Pack, PackBody, decode_frame,
};
use crate::progress::{self, Progress};
use crate::reach::Reach;
use crate::store::Store;

impl Store {
    /// Writes baselines to a file that is to be made; with `force` it may replace one. The file
    /// appears when it is complete and durable.
    pub fn export_bundle(
        &self,
        baselines: &[BaselineId],
        dest: &Path,
        force: bool,
        progress: &dyn Progress,
    ) -> Result<BundleReport> {
        outfile::check(dest, force)?;
        let _stay = self.shared.stay();
        let mut reach = Reach::new(self, progress);
        let mut manifest = Manifest { schema: 1, baselines: Vec::new() };
        for id in baselines {
            let mut record = self.baseline(*id)?;
            // Whoever takes it in asked for it.
            record.implicit = false;
            reach.whole_baseline(&record)?;
            if manifest.baselines.iter().all(|known| known.id != *id) {
                manifest.baselines.push(record);
            }
        }
        let (objects, bytes) = outfile::write(dest, force, |temp| {
            let objects = self.write_bundle(&manifest, &reach.marks, temp, dest, progress)?;
            Ok((objects, temp.as_file().metadata().at("read", dest)?.len()))
        })?;
        let baselines = manifest.baselines.iter().map(|record| record.id).collect();
        Ok(BundleReport {
            schema: 1,
            baselines,
            known: Vec::new(),
            objects,
            bytes,
            stored_bytes: 0,
        })
    }

    fn write_bundle(
        &self,
        manifest: &Manifest,
        marks: &Marks,
        temp: &mut NamedTempFile,
        dest: &Path,
        progress: &dyn Progress,
    ) -> Result<u64> {
        let json = serde_json::to_vec(manifest).map_err(io::Error::from).at("write", dest)?;
        let head = [&HEADER[..], &(json.len() as u64).to_le_bytes(), &json].concat();
        temp.write_all(&head).at("write", dest)?;
        let mut packs = Packs { store: self, temp, dest, open: None, objects: 0 };
        for (number, pack) in self.shared.packs() {
            if marks.records(number).next().is_some() {
                packs.copy(number, &pack, marks, progress)?;
            }
        }
        packs.end()?;
        let objects = packs.objects;
        temp.write_all(&0u64.to_le_bytes()).at("write", dest)?;
        temp.flush().at("write", dest)?;
        let mut hasher = blake3::Hasher::new();
        let mut written = File::open(temp.path()).at("read", dest)?;
        hasher.update_reader(&mut written).at("read", dest)?;
        temp.write_all(hasher.finalize().as_bytes()).at("write", dest)?;
        Ok(objects)
    }
}

/// The packs of a bundle, written one after the other.
struct Packs<'a> {
    store: &'a Store,
    temp: &'a mut NamedTempFile,
    dest: &'a Path,
    /// The pack being written, and where its length belongs.
    open: Option<(PackBody, u64)>,
    objects: u64,
}

impl Packs<'_> {
    /// Copies what is marked of a pack: whole frames as they are.
    fn copy(
        &mut self,
        number: u32,
        pack: &Pack,
        marks: &Marks,
        progress: &dyn Progress,
    ) -> Result<()> {
        let footer = self.store.shared.footer(number, pack).at("read", &pack.path)?;
        let mut by_frame = vec![Vec::new(); footer.frames.len()];
        let mut counts = vec![0usize; footer.frames.len()];
        for (at, record) in footer.records.iter().enumerate() {
            let here = (number, at as u32);
            let Some(count) = counts.get_mut(record.frame as usize) else { continue };
            *count += 1;
            let wanted = marks.get(number, at as u32)
                && self.store.shared.home(&record.key, here).place == here;
            if wanted {
                by_frame[record.frame as usize].push(*record);
            }
        }
        let level = self.store.shared.options.compression_level;
        let builder =
            || FrameBuilder::new(level, CONTENT_FRAME).at("start compression for", self.dest);
        let (mut contents, mut nodes) = (builder()?, builder()?);
        let file = self.store.shared.file(number, pack).map_err(io::Error::other);
        let file = file.at("open", &pack.path)?;
        for ((line, records), count) in footer.frames.iter().zip(&mut by_frame).zip(counts) {
            progress::check(progress)?;
            if records.is_empty() {
                continue;
            }
            records.sort_unstable_by_key(|record| record.offset);
            let stored = pack.stored(&file, line).map_err(io::Error::other);
            let stored = stored.at("read", &pack.path)?;
            let raw = decode_frame(line, stored.clone()).map_err(io::Error::other);
            let raw = raw.at("read", &pack.path)?;
            for record in records.iter() {
                let bytes = raw.get(record.offset as usize..);
                let bytes = bytes.and_then(|rest| rest.get(..record.len as usize));
                let Some(bytes) = bytes.filter(|bytes| record.key.matches(bytes)) else {
                    let reason = "its bytes do not match its id";
                    return Err(Error::Damaged { key: record.key, pack: pack.id(), reason });
                };
                if records.len() < count {
                    let builder =
                        if record.key.kind == Kind::Chunk { &mut contents } else { &mut nodes };
                    if builder.add(record.key, bytes) {
                        let frame = builder.close().at("compress for", self.dest)?;
                        self.append(frame)?;
                    }
                }
            }
            if records.len() == count {
                let objects = records.iter().map(|r| (r.key, r.offset, r.len)).collect();
                self.append(Some(EncodedFrame::copied(stored, line, objects)))?;
            }
            let bytes = records.iter().map(|record| u64::from(record.len)).sum();
            progress.advance(records.len() as u64, bytes);
        }
        for mut builder in [contents, nodes] {
            let frame = builder.close().at("compress for", self.dest)?;
            self.append(frame)?;
        }
        Ok(())
    }

    fn append(&mut self, frame: Option<EncodedFrame>) -> Result<()> {
        let Some(frame) = frame else { return Ok(()) };
        self.objects += frame.objects() as u64;
        let mut out = BufWriter::new(&mut *self.temp);
        let (body, _) = match &mut self.open {
            Some(open) => open,
            empty => {
                let at = out.stream_position().at("write", self.dest)?;
                out.write_all(&0u64.to_le_bytes()).at("write", self.dest)?;
                empty.insert((PackBody::begin(Effort::Fast, &mut out).at("write", self.dest)?, at))
            }
        };
        let full = body.append(frame, self.store.shared.options.pack_bytes, &mut out);
        let full = full.at("write", self.dest)?;
        out.flush().at("write", self.dest)?;
        drop(out);
        if full { self.end() } else { Ok(()) }
    }

    /// Ends the pack being written, and puts its length before it.
    fn end(&mut self) -> Result<()> {
        let Some((mut body, at)) = self.open.take() else { return Ok(()) };
        body.end(&mut *self.temp).at("write", self.dest)?;
        let end = self.temp.stream_position().at("write", self.dest)?;
        let len = end - at - 8;
        self.temp.seek(SeekFrom::Start(at)).at("write", self.dest)?;
        self.temp.write_all(&len.to_le_bytes()).at("write", self.dest)?;
        self.temp.seek(SeekFrom::Start(end)).at("write", self.dest)?;
        Ok(())
    }
}
