//! Bundles of which every hash is right and nothing else need be: what somebody can send who knows
//! the format. Bytes choose what is built: chunks, lists of chunks, directories and times that refer
//! to each other, rightly or not.

use std::fs;
use std::path::Path;

use pyro_format::{
    BaselineKey, ChunkId, ChunkList, ChunkRef, Entry, EntryName, FileId, LinkTarget, Mode, Mtime,
    Node, RootId, RootNode, TimesEntry, TimesId, TimesNode, Tree, TreeId, TreePath,
};

use super::with_store;
use crate::baseline::{BaselineRecord, PathBytes};
use crate::bundle;
use crate::checkout::CheckoutOptions;
use crate::gc::GcOptions;
use crate::ingest::{IngestOptions, IngestSource};
use crate::object::{Kind, ObjectKey};
use crate::pack::{Effort, FrameBuilder, PackBody};
use crate::store::Store;

/// Objects in one bundle.
const MAX_OBJECTS: usize = 40;
/// Chunks are so many times up to 255 bytes long: some files are longer than one chunk may be.
const CHUNK_UNIT: usize = 150;
/// Paths in one tree: trees that hold each other many times would have more than can be visited.
const MAX_PATHS: u64 = 200;

/// The input, byte by byte; zeroes after its end.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    /// One of those made so far, if any was.
    fn of<T: Clone>(&mut self, made: &[T]) -> Option<T> {
        let at = usize::from(self.byte());
        (!made.is_empty()).then(|| made[at % made.len()].clone())
    }

    fn mtime(&mut self) -> Mtime {
        let secs = i64::from_le_bytes([0; 8].map(|_: u8| self.byte()));
        Mtime { secs, nanos: u32::from(self.byte()) }
    }
}

#[derive(Default)]
struct Forge {
    objects: Vec<(ObjectKey, Vec<u8>)>,
    chunks: Vec<Vec<u8>>,
    /// Files as they claim to be: id and size; and the content that has this id, if there is any.
    files: Vec<(FileId, u64)>,
    honest: Vec<Vec<u8>>,
    trees: Vec<(TreeId, u64)>,
    times: Vec<TimesId>,
    baselines: Vec<BaselineKey>,
}

impl Forge {
    fn add(&mut self, kind: Kind, id: [u8; 32], bytes: Vec<u8>) {
        self.objects.push((ObjectKey::new(kind, id), bytes));
    }

    fn step(&mut self, input: &mut Choices<'_>) {
        match input.byte() % 8 {
            0 | 1 => {
                let content = vec![input.byte(); usize::from(input.byte()) * CHUNK_UNIT];
                self.add(Kind::Chunk, *blake3::hash(&content).as_bytes(), content.clone());
                self.files.push((FileId::of(&content), content.len() as u64));
                self.honest.push(content.clone());
                self.chunks.push(content);
            }
            2 => self.chunk_list(input),
            3 | 4 => self.tree(input),
            5 => {
                let entry = |input: &mut Choices<'_>, times: &[TimesId]| {
                    let mtime = input.mtime();
                    let children =
                        input.byte().is_multiple_of(2).then(|| input.of(times)).flatten();
                    TimesEntry { mtime, children }
                };
                let count = input.byte() % 4;
                let entries = (0..count).map(|_| entry(input, &self.times)).collect();
                let bytes = TimesNode { entries }.encode();
                self.times.push(TimesId::of(&bytes));
                self.add(Kind::Times, *blake3::hash(&bytes).as_bytes(), bytes);
            }
            6 => {
                let Some((tree, _)) = input.of(&self.trees) else { return };
                let mode = Mode::new(u16::from(input.byte()) * 2);
                let bytes = RootNode { mode, tree }.encode();
                let root = RootId::of(&bytes);
                self.add(Kind::Root, *blake3::hash(&bytes).as_bytes(), bytes);
                let Some(times) = input.of(&self.times) else { return };
                let mtime = input.mtime();
                self.baselines.push(BaselineKey { root, times, mtime });
            }
            _ => {
                // Any bytes, or a node with one byte changed.
                let Some((key, mut bytes)) = input.of(&self.objects) else { return };
                let at = usize::from(input.byte()) % bytes.len().max(1);
                let change = input.byte();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= change;
                }
                let id = *blake3::hash(&bytes).as_bytes();
                match key.kind {
                    Kind::Tree => self.trees.push((TreeId::from_bytes(id), 1)),
                    Kind::Times => self.times.push(TimesId::from_bytes(id)),
                    _ => {}
                }
                self.add(key.kind, id, bytes);
            }
        }
    }

    fn chunk_list(&mut self, input: &mut Choices<'_>) {
        let count = 2 + usize::from(input.byte() % 3);
        let parts: Vec<_> = (0..count).filter_map(|_| input.of(&self.chunks)).collect();
        let whole = parts.concat();
        let mut chunks: Vec<_> = parts
            .iter()
            .map(|part| ChunkRef { id: ChunkId::of(part), len: part.len() as u64 })
            .collect();
        let file = match input.byte() % 3 {
            // The id of something else of the same length.
            0 => {
                let other = vec![input.byte(); whole.len()];
                self.honest.push(other.clone());
                FileId::of(&other)
            }
            1 if !chunks.is_empty() => {
                let at = usize::from(input.byte()) % chunks.len();
                chunks[at].len ^= u64::from(input.byte()) << (input.byte() % 64);
                FileId::of(&whole)
            }
            _ => FileId::of(&whole),
        };
        self.honest.push(whole);
        let size = chunks.iter().fold(0, |sum: u64, chunk| sum.wrapping_add(chunk.len));
        let bytes = ChunkList { file, chunks }.encode();
        self.files.push((file, size));
        self.add(Kind::ChunkList, *file.as_bytes(), bytes);
    }

    fn tree(&mut self, input: &mut Choices<'_>) {
        let mut entries = Vec::new();
        let mut paths = 1;
        for _ in 0..input.byte() % 5 {
            let len = 1 + usize::from(input.byte() % 3);
            let Ok(name) = EntryName::parse(&input.take(len)) else { continue };
            let mode = Mode::new(0o400 | u16::from(input.byte()));
            let node = match input.byte() % 4 {
                0 | 1 => {
                    let Some((content, mut size)) = input.of(&self.files) else { continue };
                    if input.byte().is_multiple_of(4) {
                        size ^= u64::from(input.byte()) << (input.byte() % 64);
                    }
                    Node::File { mode, size, content }
                }
                2 => {
                    let Some((tree, below)) = input.of(&self.trees) else { continue };
                    paths += below;
                    Node::Dir { mode: Mode::new(0o700), tree }
                }
                _ => match LinkTarget::parse(&input.take(4)) {
                    Ok(target) => Node::Symlink { target },
                    Err(_) => continue,
                },
            };
            paths += 1;
            entries.push(Entry::new(name, node));
        }
        let Ok(tree) = Tree::new(entries) else { return };
        if paths <= MAX_PATHS {
            let bytes = tree.encode();
            self.trees.push((TreeId::of(&bytes), paths));
            self.add(Kind::Tree, *blake3::hash(&bytes).as_bytes(), bytes);
        }
    }

    fn bundle(&self) -> Vec<u8> {
        let mut frame = FrameBuilder::new(1, usize::MAX).expect("zstd works");
        for (key, bytes) in &self.objects {
            frame.add(*key, bytes);
        }
        let mut pack = Vec::new();
        let mut body = PackBody::begin(Effort::Fast, &mut pack).expect("memory takes it");
        if let Some(frame) = frame.close().expect("zstd works") {
            body.append(frame, u64::MAX, &mut pack).expect("memory takes it");
        }
        body.end(&mut pack).expect("memory takes it");
        bundle::encode(self.baselines.iter().map(record).collect(), &[pack])
    }
}

fn record(key: &BaselineKey) -> BaselineRecord {
    BaselineRecord {
        schema: 1,
        id: key.id(),
        root: key.root,
        times: key.times,
        mtime: key.mtime,
        source: PathBytes(b"forged".to_vec()),
        implicit: false,
        created_at_ms: 0,
        entry_count: 0,
        file_count: 0,
        bytes_total: 0,
        skipped: Vec::new(),
        changing: Vec::new(),
        warnings: Vec::new(),
    }
}

/// A bundle in which every hash is right. Whatever is in it, it is refused and leaves nothing, or
/// its baselines are whole and everybody else's content stays what it is.
pub fn forged(data: &[u8]) {
    let mut input = Choices(data);
    let mut forge = Forge::default();
    while !input.0.is_empty() && forge.objects.len() < MAX_OBJECTS {
        forge.step(&mut input);
    }
    with_store("x.bundle", &forge.bundle(), |store, path| {
        let packs = || store.stats().expect("a store").packs;
        let before = packs();
        let imported = store.import_bundle(path, &());
        let beside = path.with_file_name("beside");
        match &imported {
            Err(_) => assert_eq!(packs(), before, "nothing is left"),
            Ok(report) => {
                let found = store.verify(&()).expect("a store");
                assert!(found.is_clean(), "{found:?}");
                for id in &report.baselines {
                    let options = CheckoutOptions { durable: false, ..Default::default() };
                    let root = TreePath::root();
                    store
                        .checkout_baseline(*id, &root, &beside, &options, &())
                        .expect("what was taken in is whole");
                    remove(&beside);
                }
                let bystander = bystander(store, &forge, &beside);
                for id in report.baselines.iter().copied().chain(bystander) {
                    let _ = store.remove_baseline(id);
                }
                store.gc(&GcOptions::default(), &Vec::new, &()).expect("all is whole");
                assert_eq!(packs(), 0, "nothing is left");
            }
        }
    });
}

/// Somebody else's files, some of which claim the same ids: they stay what they are.
fn bystander(store: &Store, forge: &Forge, dir: &Path) -> Option<pyro_format::BaselineId> {
    fs::create_dir(dir).expect("there is room");
    for (at, content) in forge.honest.iter().enumerate() {
        fs::write(dir.join(at.to_string()), content).expect("there is room");
    }
    let from = IngestSource::Directory(dir.to_owned());
    let report = store.ingest(&from, &IngestOptions::default(), &()).expect("honest files");
    for (at, content) in forge.honest.iter().enumerate() {
        let name = TreePath::parse(at.to_string().as_bytes()).expect("a number is a name");
        let mut reader = store.cat(report.baseline, &name).expect("it was stored");
        let mut found = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut found).expect("it is whole");
        assert!(found == *content, "a file of somebody else is another now");
    }
    remove(dir);
    Some(report.baseline)
}

/// Directories may be unreadable by anyone but root.
fn remove(dir: &Path) {
    fs::remove_dir_all(dir).expect("it can be removed");
}
