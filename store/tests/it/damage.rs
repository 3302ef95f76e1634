use std::fs;

use pyro_format::TreePath;
use pyro_store::{Error, Kind};

use crate::support::{Scratch, noise, scratch};

fn small_store() -> (Scratch, pyro_store::IngestReport) {
    let scratch = scratch();
    let source = scratch.source();
    fs::create_dir(source.join("dir")).unwrap();
    fs::write(source.join("dir/file"), noise(1, 900)).unwrap();
    fs::write(source.join("large"), noise(2, 300_000)).unwrap();
    let report = scratch.ingest(&source).unwrap();
    (scratch, report)
}

#[test]
fn any_flipped_byte_in_a_pack_is_found() {
    let (mut scratch, _) = small_store();
    let pack = scratch.pack();
    let sound = fs::read(&pack).unwrap();
    // Every region: the header, the frames in large steps, all of the footer and the trailer.
    let tail = sound.len() - 1000;
    let offsets = (0..16).chain((16..tail).step_by(40_009)).chain((tail..sound.len()).step_by(7));
    for at in offsets {
        let mut broken = sound.clone();
        broken[at] ^= 0x10;
        fs::write(&pack, &broken).unwrap();
        scratch.reopen();
        let report = scratch.store.verify(&()).unwrap();
        assert!(!report.is_clean(), "byte {at} of {}", sound.len());
    }
    fs::write(&pack, &sound).unwrap();
    scratch.reopen();
    assert!(scratch.store.verify(&()).unwrap().is_clean());
}

#[test]
fn damage_is_named_with_the_paths_it_reaches_and_is_never_returned() {
    let (mut scratch, report) = small_store();
    let pack = scratch.pack();
    let mut bytes = fs::read(&pack).unwrap();
    let content = noise(1, 900);
    let at = bytes.windows(900).position(|window| window == content).unwrap();
    bytes[at + 450] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    scratch.reopen();

    let verified = scratch.store.verify(&()).unwrap();
    let damaged = &verified.damaged_objects;
    let id = blake3::hash(&content).to_string();
    assert!(damaged.iter().any(|object| object.kind == Kind::Chunk && object.id == id));
    let paths: Vec<_> = verified.broken_paths.iter().map(|path| path.path.to_string()).collect();
    assert!(paths.contains(&"dir/file".to_owned()), "{paths:?}");
    assert!(verified.broken_paths.iter().all(|path| path.baseline == report.baseline));

    let path = TreePath::parse(b"dir/file").unwrap();
    let error = scratch.store.cat(report.baseline, &path).err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn a_lost_pack_and_a_broken_record_are_named() {
    let (mut scratch, report) = small_store();
    let record = scratch.store.dir().join(format!("baselines/{}.json", report.baseline));
    let sound = fs::read(&record).unwrap();
    fs::write(&record, b"{}").unwrap();
    let verified = scratch.store.verify(&()).unwrap();
    assert_eq!(verified.broken_baselines[0].baseline, report.baseline);
    fs::write(&record, sound).unwrap();
    fs::remove_file(scratch.pack()).unwrap();
    scratch.reopen();
    let verified = scratch.store.verify(&()).unwrap();
    assert_eq!(verified.broken_paths[0].reason, "missing");
}
