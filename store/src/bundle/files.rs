//! Whether the lists of chunks in a bundle give the files that they say.
//!
//! A list is stored under the hash of the whole file, which its own bytes cannot prove. One that
//! lied would stand for somebody else's file from then on, so none is taken in before the file was
//! put together and hashed here.

use std::fs::File;

use pyro_format::{ChunkId, ChunkList, FileId};

use super::import::Staged;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::object::{Kind, ObjectKey};
use crate::pack::{Record, decode_frame};
use crate::progress::{self, Progress};
use crate::store::Store;

/// The staged packs of a bundle, by their numbers, and what was unpacked last: the chunks of a file
/// are mostly neighbours.
struct Staging<'a> {
    store: &'a Store,
    index: Index,
    packs: Vec<(&'a Staged, File)>,
    last: Option<((u32, u32), Vec<u8>)>,
}

/// Fails with what is wrong.
type Checked<T> = Result<T, Bad>;

pub(super) enum Bad {
    Bundle(String),
    Store(Error),
}

impl From<Error> for Bad {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Puts every file together of which a staged pack has a list of chunks.
pub(super) fn check(store: &Store, staged: &[Staged], progress: &dyn Progress) -> Checked<()> {
    let mut staging = Staging { store, index: Index::default(), packs: Vec::new(), last: None };
    for pack in staged {
        let file = File::open(pack.temp.path()).map_err(|error| Bad::Bundle(error.to_string()))?;
        let prefixes = pack.records.iter().map(|record| record.key.prefix());
        staging.index.add(pack.pack.clone(), prefixes);
        staging.packs.push((pack, file));
    }
    for (number, pack) in staged.iter().enumerate() {
        let lists = pack.records.iter().filter(|record| record.key.kind == Kind::ChunkList);
        for record in lists {
            let bytes = staging.read(number as u32, record)?.to_vec();
            let list = ChunkList::decode(&bytes).map_err(|error| Bad::Bundle(error.to_string()))?;
            staging.check(&list, progress)?;
        }
    }
    Ok(())
}

impl Staging<'_> {
    fn check(&mut self, list: &ChunkList, progress: &dyn Progress) -> Checked<()> {
        let mut whole = blake3::Hasher::new();
        for chunk in &list.chunks {
            progress::check(progress)?;
            let len = self.hash(chunk.id, &mut whole)?;
            if len != chunk.len {
                let file = list.file;
                return Err(Bad::Bundle(format!("a chunk of file {file} has another length")));
            }
        }
        let found = FileId::from_bytes(*whole.finalize().as_bytes());
        if found == list.file {
            return Ok(());
        }
        Err(Bad::Bundle(format!("what it calls file {} is file {found}", list.file)))
    }

    /// Adds a chunk to the hash of its file and answers its length.
    fn hash(&mut self, id: ChunkId, whole: &mut blake3::Hasher) -> Checked<u64> {
        let key = ObjectKey::from(id);
        for at in self.index.candidates(&key) {
            let record = self.packs[at.number as usize].0.records[at.record as usize];
            if record.key == key {
                let bytes = self.read(at.number, &record)?;
                whole.update(bytes);
                return Ok(bytes.len() as u64);
            }
        }
        match self.store.get(key) {
            Ok(bytes) => {
                whole.update(&bytes);
                Ok(bytes.len() as u64)
            }
            Err(Error::Missing(_)) => Err(Bad::Bundle(format!("{key} is missing"))),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, number: u32, record: &Record) -> Checked<&[u8]> {
        let slot = (number, record.frame);
        if self.last.as_ref().is_none_or(|(last, _)| *last != slot) {
            let (staged, file) = &self.packs[number as usize];
            let pack = &staged.pack;
            let raw = pack
                .frame(file, record.frame)
                .and_then(|line| decode_frame(&line, pack.stored(file, &line)?));
            self.last = Some((slot, raw.map_err(|reason| Bad::Bundle(reason.to_owned()))?));
        }
        let raw = self.last.as_ref().map_or(&[][..], |(_, raw)| raw);
        let rest = raw.get(record.offset as usize..).unwrap_or_default();
        rest.get(..record.len as usize).ok_or(Bad::Bundle("an object lies nowhere".to_owned()))
    }
}
