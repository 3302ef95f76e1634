use std::io::Read;

use pyro_format::{ChunkId, FileId};
use pyro_store::Error;

use crate::support::{noise, scratch};

#[test]
fn a_file_is_recorded_only_under_the_hash_of_its_bytes() {
    let scratch = scratch();
    let (first, second) = (noise(1, 5000), noise(2, 7000));
    let whole = [&first[..], &second, &first].concat();
    let id = FileId::of(&whole);

    let mut writer = scratch.store.writer().unwrap();
    let mut lie = writer.assemble_file();
    lie.push_chunk(&second).unwrap();
    lie.push_chunk(&first).unwrap();
    assert!(matches!(lie.finish(id), Err(Error::FileMismatch { .. })));

    let mut file = writer.assemble_file();
    let chunk = file.push_chunk(&first).unwrap();
    file.push_chunk(&second).unwrap();
    // Put a moment ago and not yet committed.
    assert_eq!(file.push_existing(chunk).unwrap(), 5000);
    assert!(matches!(file.push_existing(ChunkId::of(b"none")), Err(Error::Missing(_))));
    assert_eq!(file.finish(id).unwrap(), whole.len() as u64);
    assert!(!scratch.store.has_file(id, whole.len() as u64).unwrap());
    writer.commit().unwrap();

    let size = whole.len() as u64;
    assert!(scratch.store.has_file(id, size).unwrap());
    assert!(!scratch.store.has_file(id, size + 1).unwrap());
    assert_eq!(scratch.store.chunks_of(id, size).unwrap().len(), 3);
    let mut read = Vec::new();
    scratch.store.open_file(id, size).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, whole);
    for (offset, len) in [(0, 1), (4999, 2), (5000, 7000), (11_999, 9000), (17_000, 5), (3, 0)] {
        let range = scratch.store.read_file_range(id, size, offset, len).unwrap();
        let (from, to) = (offset as usize, (offset as usize + len).min(whole.len()));
        assert_eq!(range, &whole[from.min(to)..to], "{offset} {len}");
    }
}

#[test]
fn what_was_not_committed_is_not_there() {
    let scratch = scratch();
    let mut writer = scratch.store.writer().unwrap();
    let id = writer.put_chunk(b"content").unwrap();
    assert!(writer.has_chunk(id) && !scratch.store.has_chunk(id));
    drop(writer);
    assert!(!scratch.store.has_chunk(id) && scratch.packs().is_empty());
}

#[test]
fn the_empty_file_is_always_there() {
    let scratch = scratch();
    let empty = FileId::of(b"");
    assert!(scratch.store.has_file(empty, 0).unwrap());
    assert!(!scratch.store.has_file(FileId::of(b"x"), 0).unwrap());
    assert_eq!(scratch.store.read_file_range(empty, 0, 0, 10).unwrap(), b"");
    let mut writer = scratch.store.writer().unwrap();
    assert_eq!(writer.assemble_file().finish(empty).unwrap(), 0);
}
