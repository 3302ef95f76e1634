//! Taking a bundle in.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::files::{self, Bad};
use super::{BundleReport, HEADER, MAX_MANIFEST, Manifest};
use crate::error::{Error, IoContext, Result};
use crate::pack::{Pack, Record};
use crate::progress::{self, Progress};
use crate::reach::Reach;
use crate::store::Store;
use crate::verify::{self, check_pack};

/// A pack of a bundle, checked, that has not got its name yet.
pub(super) struct Staged {
    pub(super) temp: NamedTempFile,
    path: PathBuf,
    pub(super) pack: Pack,
    /// All of them until the whole bundle is checked.
    pub(super) records: Vec<Record>,
}

impl Store {
    /// Takes in the baselines of a bundle. Nothing is on record before the whole bundle is checked;
    /// a bundle that is not as it should be leaves nothing. Baselines that are on record already
    /// stay as they are.
    pub fn import_bundle(&self, path: &Path, progress: &dyn Progress) -> Result<BundleReport> {
        let bad = |reason: String| Error::Bundle { path: path.to_owned(), reason };
        let file = File::open(path).at("open", path)?;
        let metadata = file.metadata().at("read", path)?;
        if !metadata.is_file() {
            return Err(bad("it is not a regular file".to_owned()));
        }
        let bytes = check_hash(&file, metadata.len(), path)?;
        // What is found or added stays until everything is on record.
        let _hold = self.hold();
        let mut input = BufReader::new(&file);
        input.seek(SeekFrom::Start(HEADER.len() as u64)).at("read", path)?;
        let mut left = bytes - 32 - HEADER.len() as u64;
        let manifest_len = number(&mut input, &mut left).at("read", path)?;
        if manifest_len > left.min(MAX_MANIFEST) {
            return Err(bad("its manifest is too long".to_owned()));
        }
        let mut json = vec![0; manifest_len as usize];
        input.read_exact(&mut json).at("read", path)?;
        left -= manifest_len;
        let manifest: Manifest = serde_json::from_slice(&json)
            .map_err(|error| bad(format!("its manifest cannot be read: {error}")))?;
        if manifest.schema != 1 {
            return Err(bad(format!("its manifest has version {}", manifest.schema)));
        }
        for record in &manifest.baselines {
            if record.key().id() != record.id || record.schema != 1 {
                return Err(bad(format!("the record of baseline {} is not its own", record.id)));
            }
        }
        let mut staged = Vec::new();
        let mut objects = 0;
        loop {
            let len = number(&mut input, &mut left).at("read", path)?;
            if len == 0 {
                break;
            }
            if len > left {
                return Err(bad("a pack is longer than the bundle".to_owned()));
            }
            left -= len;
            let (pack, count) =
                self.stage(&mut input, len, progress).map_err(|error| match error {
                    Bad::Bundle(reason) => bad(format!("a pack in it is damaged: {reason}")),
                    Bad::Store(error) => error,
                })?;
            objects += count;
            staged.extend(pack);
        }
        if left != 0 {
            return Err(bad("something follows its end".to_owned()));
        }
        let mut report = BundleReport {
            schema: 1,
            baselines: manifest.baselines.iter().map(|record| record.id).collect(),
            known: Vec::new(),
            objects,
            bytes,
            stored_bytes: 0,
        };
        files::check(self, &staged, progress).map_err(|error| match error {
            Bad::Bundle(reason) => bad(reason),
            Bad::Store(error) => error,
        })?;
        let added = self.add_packs(staged, &mut report)?;
        let mut reach = Reach::new(self, progress);
        for record in &manifest.baselines {
            let (id, missing) = (record.id, reach.baseline(record)?);
            if missing > 0 {
                self.discard(added)?;
                return Err(bad(format!("{missing} objects that baseline {id} needs are missing")));
            }
            if let Some(reason) = verify::problem(self, record)? {
                self.discard(added)?;
                return Err(bad(format!("baseline {id}: {reason}")));
            }
        }
        for record in &manifest.baselines {
            match self.baseline(record.id) {
                Ok(known) if !known.implicit => report.known.push(record.id),
                _ => self.record_baseline(record)?,
            }
        }
        Ok(report)
    }

    /// Copies a pack of the bundle and checks everything in it; none if the store has all of it.
    fn stage(
        &self,
        input: &mut impl Read,
        len: u64,
        progress: &dyn Progress,
    ) -> Result<(Option<Staged>, u64), Bad> {
        let dir = self.shared.packs_dir();
        let temp = tempfile::Builder::new().prefix(pyro_durable::TEMP_PREFIX).tempfile_in(&dir);
        let mut temp = temp.at("create a pack in", &dir)?;
        let copied = io::copy(&mut input.take(len), &mut temp).at("write", temp.path())?;
        if copied != len {
            return Err(Bad::Bundle("it is cut short".to_owned()));
        }
        let (pack, file) = Pack::open_unnamed(temp.path()).map_err(Bad::Bundle)?;
        let footer = pack.footer(&file).map_err(Bad::Bundle)?;
        let checked = check_pack(&pack, &file, &footer, self.shared.options.threads, progress)?;
        if let Some((_, key, reason)) = checked.damaged.first() {
            return Err(Bad::Bundle(format!("{key}: {reason}")));
        }
        progress::check(progress)?;
        let objects = footer.records.len() as u64;
        if footer.records.iter().all(|record| self.contains(record.key)) {
            return Ok((None, objects));
        }
        let path = dir.join(format!("{}.pack", pack.id()));
        Ok((Some(Staged { temp, path, pack, records: footer.records }), objects))
    }

    fn add_packs(&self, staged: Vec<Staged>, report: &mut BundleReport) -> Result<HashSet<u32>> {
        let mut added = HashSet::new();
        for Staged { temp, path, .. } in staged {
            pyro_durable::publish(temp, &path).at("write", &path)?;
            report.stored_bytes += path.metadata().at("read", &path)?.len();
            added.insert(self.shared.publish_file(&path)?);
        }
        Ok(added)
    }

    /// Takes back packs of a bundle that was refused. Another operation that has found something
    /// in one keeps it; then a collection deals with it later.
    fn discard(&self, added: HashSet<u32>) -> Result<()> {
        let packs = self.shared.take_out(false, || {
            let relied = |pack: &u32| self.shared.holds.others_found(*pack);
            Ok(added.into_iter().filter(|pack| !relied(pack)).collect())
        })?;
        for pack in packs {
            pyro_durable::remove(&pack.path).at("remove", &pack.path)?;
            self.shared.catalog.remove_segment(&pack)?;
        }
        Ok(())
    }
}

/// Compares the hash at the end with everything before it.
fn check_hash(file: &File, len: u64, path: &Path) -> Result<u64> {
    let bad = |reason: &str| Error::Bundle { path: path.to_owned(), reason: reason.to_owned() };
    let mut input = file;
    let mut header = [0; HEADER.len()];
    let least = HEADER.len() as u64 + 8 + 8 + 32;
    if len < least {
        return Err(bad("it is too short for a bundle"));
    }
    input.read_exact(&mut header).at("read", path)?;
    if header[..8] != HEADER[..8] {
        return Err(bad("it is not a bundle"));
    }
    if header != HEADER {
        return Err(bad("it was made by a newer version of pyro"));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header);
    hasher.update_reader(input.take(len - 32 - HEADER.len() as u64)).at("read", path)?;
    let mut expected = [0; 32];
    input.read_exact(&mut expected).at("read", path)?;
    if *hasher.finalize().as_bytes() != expected {
        return Err(bad("it is damaged or cut short: its hash is another"));
    }
    Ok(len)
}

fn number(input: &mut impl Read, left: &mut u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    *left = left.checked_sub(8).ok_or(io::ErrorKind::UnexpectedEof)?;
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
