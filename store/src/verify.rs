//! Checking everything that is stored, and naming what damage reaches.
//!
//! First every pack: header, footer, each frame's checksum, each object's id. Then every baseline:
//! whether all it needs is there. Only when something is wrong are the trees walked once more, to
//! name the paths.

mod reach;

pub(crate) use reach::problem;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use pyro_format::BaselineId;
use serde::{Deserialize, Serialize};

use crate::baseline::PathBytes;
use crate::error::Result;
use crate::index::Candidate;
use crate::object::{Kind, ObjectKey};
use crate::pack::{Footer, Pack, Record, decode_frame, frame_is_intact};
use crate::progress::{self, Progress};
use crate::store::{DamagedPack, Store, locked};

/// An object that a pack lists but does not soundly hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DamagedObject {
    /// What it is.
    pub kind: Kind,
    /// Its id in hex.
    pub id: String,
    /// The pack's file.
    pub pack: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// A path of a baseline that cannot be read whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenPath {
    /// Which baseline.
    pub baseline: BaselineId,
    /// Where in it; empty for the top directory.
    #[serde(flatten)]
    pub path: PathBytes,
    /// Kind of the object that is missing or damaged.
    pub kind: Kind,
    /// Its id in hex.
    pub id: String,
    /// `missing` or what is wrong with it.
    pub reason: String,
}

/// A baseline record that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenBaseline {
    /// Which baseline.
    pub baseline: BaselineId,
    /// What is wrong with its record.
    pub reason: String,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Version of this report's shape: 1.
    pub schema: u32,
    /// Packs that were read.
    pub packs: u64,
    /// Frames that were read.
    pub frames: u64,
    /// Objects that were checked.
    pub objects: u64,
    /// Their bytes before compression.
    pub bytes: u64,
    /// Baselines that were followed.
    pub baselines: u64,
    /// Packs that cannot be used, wholly or in part.
    pub damaged_packs: Vec<DamagedPack>,
    /// Objects that are damaged, sorted.
    pub damaged_objects: Vec<DamagedObject>,
    /// Damaged copies of objects that are sound elsewhere, sorted. Nothing is lost; a collection
    /// removes them.
    pub healed_objects: Vec<DamagedObject>,
    /// Baselines without a usable record.
    pub broken_baselines: Vec<BrokenBaseline>,
    /// Paths that damage reaches, at most [`MAX_PATHS`].
    pub broken_paths: Vec<BrokenPath>,
    /// Whether there are more than are listed.
    pub broken_paths_truncated: bool,
}

/// So many broken paths are listed.
pub const MAX_PATHS: usize = 10_000;

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damaged_packs.is_empty()
            && self.damaged_objects.is_empty()
            && self.broken_baselines.is_empty()
            && self.broken_paths.is_empty()
    }
}

/// Objects that no pack soundly holds, and why.
type Lost = HashMap<ObjectKey, String>;

impl Store {
    /// Reads and checks everything. Damage is in the report; an error is only that of reading the
    /// store's directories, or cancellation. What was found damaged is stored again when it is met
    /// again.
    pub fn verify(&self, progress: &dyn Progress) -> Result<VerifyReport> {
        let mut report = VerifyReport {
            schema: 1,
            damaged_packs: self.damaged_packs(),
            ..VerifyReport::default()
        };
        let mut unusable = HashSet::new();
        {
            let _stay = self.shared.stay();
            let mut damaged = Vec::new();
            for (number, pack) in self.shared.packs() {
                report.packs += 1;
                match self.check(&pack, &mut report, progress)? {
                    Ok(found) => damaged.extend(found.into_iter().map(|(at, key, reason)| {
                        (Candidate { number, pack: pack.clone(), record: at }, key, reason)
                    })),
                    Err(reason) => {
                        let path = pack.path.clone();
                        report.damaged_packs.push(DamagedPack { path, reason });
                        unusable.insert(number);
                    }
                }
            }
            self.shared
                .set_damage(damaged.iter().map(|(at, ..)| (at.number, at.record)).collect())?;
            let mut lost = Lost::new();
            for (at, key, reason) in damaged {
                let object = DamagedObject {
                    kind: key.kind,
                    id: blake3::Hash::from_bytes(key.id).to_string(),
                    pack: at.pack.path.clone(),
                    reason: reason.to_owned(),
                };
                // With a second copy somewhere nothing is lost.
                if self.contains(key) && self.get(key).is_ok() {
                    report.healed_objects.push(object);
                } else {
                    report.damaged_objects.push(object);
                    lost.insert(key, reason.to_owned());
                }
            }
            report.damaged_objects.sort();
            report.healed_objects.sort();
            reach::check(self, &lost, &mut report, progress)?;
        }
        self.shared.set_aside(unusable, &report.damaged_packs)?;
        Ok(report)
    }

    /// Checks one pack; the inner error says why it cannot be used at all.
    fn check(
        &self,
        pack: &Pack,
        report: &mut VerifyReport,
        progress: &dyn Progress,
    ) -> Result<Result<Vec<Damage>, String>> {
        // The file on disk may not be the one that was opened.
        let opened = Pack::open(&pack.path);
        let (file, footer) = match opened.and_then(|(pack, file)| Ok((pack.footer(&file)?, file))) {
            Ok((footer, file)) => (file, footer),
            Err(reason) => return Ok(Err(reason)),
        };
        if footer.records.len() != pack.trailer.records as usize {
            return Ok(Err("it is another pack than it was".to_owned()));
        }
        let checked = check_pack(pack, &file, &footer, self.shared.options.threads, progress)?;
        report.frames += footer.frames.len() as u64;
        report.objects += footer.records.len() as u64;
        report.bytes += checked.bytes;
        Ok(Ok(checked.damaged))
    }
}

/// The number of a record, its object, and what is wrong with it.
pub(crate) type Damage = (u32, ObjectKey, &'static str);

pub(crate) struct Checked {
    pub(crate) bytes: u64,
    pub(crate) damaged: Vec<Damage>,
}

/// Checks all frames of a pack with several threads.
pub(crate) fn check_pack(
    pack: &Pack,
    file: &File,
    footer: &Footer,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Checked> {
    let mut by_frame: Vec<Vec<u32>> = vec![Vec::new(); footer.frames.len()];
    let mut damaged = Vec::new();
    for (at, record) in footer.records.iter().enumerate() {
        match by_frame.get_mut(record.frame as usize) {
            Some(records) => records.push(at as u32),
            None => damaged.push((at as u32, record.key, "its frame does not exist")),
        }
    }
    let next = AtomicUsize::new(0);
    let bytes = AtomicU64::new(0);
    let damaged = Mutex::new(damaged);
    let work = || {
        while !progress.cancelled() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(frame) = footer.frames.get(at) else { break };
            let raw = pack.stored(file, frame).and_then(|stored| {
                if !frame_is_intact(frame, &stored) {
                    return Err("its frame does not match its checksum");
                }
                decode_frame(frame, stored)
            });
            let mut sum = 0;
            for number in &by_frame[at] {
                let record = &footer.records[*number as usize];
                sum += u64::from(record.len);
                if let Err(reason) = check_object(record, raw.as_deref()) {
                    locked(&damaged).push((*number, record.key, reason));
                }
            }
            bytes.fetch_add(sum, Ordering::Relaxed);
            progress.advance(by_frame[at].len() as u64, sum);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            scope.spawn(work);
        }
        work();
    });
    progress::check(progress)?;
    let damaged = std::mem::take(&mut *locked(&damaged));
    Ok(Checked { bytes: bytes.into_inner(), damaged })
}

fn check_object(record: &Record, frame: Result<&[u8], &&'static str>) -> Result<(), &'static str> {
    let frame = frame.map_err(|reason| *reason)?;
    let (start, len) = (record.offset as usize, record.len as usize);
    let bytes = frame.get(start..start + len).ok_or("it lies outside its frame")?;
    if record.key.matches(bytes) { Ok(()) } else { Err("its bytes do not match its id") }
}
