use std::fs;

use pyro_store::Error;

use crate::support::{Scratch, look, noise, scratch};

fn filled(scratch: &Scratch, seed: u64) -> std::path::PathBuf {
    let source = scratch.source();
    fs::create_dir(source.join("dir")).unwrap();
    for at in 0..30 {
        fs::write(source.join(format!("dir/f{at}")), noise(seed + at, 900 * at as usize)).unwrap();
    }
    fs::write(source.join("large"), noise(seed, 400_000)).unwrap();
    source
}

fn litter(scratch: &Scratch) -> usize {
    let packs = scratch.packs().len();
    packs + fs::read_dir(scratch.store.dir().join("baselines")).unwrap().count()
}

#[test]
fn baselines_move_between_stores_in_a_bundle() {
    let from = scratch();
    let source = filled(&from, 1);
    let first = from.ingest(&source).unwrap();
    fs::write(source.join("dir/f3"), "changed").unwrap();
    let second = from.ingest(&source).unwrap();
    let file = from.path("bundle");
    let both = [first.baseline, second.baseline];
    let written = from.store.export_bundle(&both, &file, false, &()).unwrap();
    assert_eq!(written.bytes, file.metadata().unwrap().len());
    let to = scratch();
    let taken = to.store.import_bundle(&file, &()).unwrap();
    assert_eq!((taken.baselines.len(), taken.known.len()), (2, 0));
    assert_eq!(taken.objects, written.objects);
    assert!(to.store.verify(&()).unwrap().is_clean());
    assert_eq!(look(&to.check_out(&second, "out")), look(&source));
    let again = to.store.import_bundle(&file, &()).unwrap();
    assert_eq!((again.known.len(), again.stored_bytes), (2, 0));
    assert_eq!(to.packs().len(), 1);
}

#[test]
fn a_bundle_holds_what_its_baselines_need_and_nothing_else() {
    let from = scratch();
    let source = filled(&from, 1);
    let first = from.ingest(&source).unwrap();
    fs::write(source.join("secret"), noise(77, 5000)).unwrap();
    from.ingest(&source).unwrap();
    from.store.gc(&pyro_store::GcOptions::default(), &Vec::new, &()).unwrap();
    let file = from.path("bundle");
    from.store.export_bundle(&[first.baseline], &file, false, &()).unwrap();
    let bytes = fs::read(&file).unwrap();
    let secret = noise(77, 5000);
    assert!(bytes.windows(100).all(|window| window != &secret[..100]));
    let to = scratch();
    to.store.import_bundle(&file, &()).unwrap();
    assert!(!to.store.has_chunk(pyro_format::ChunkId::of(&secret)));
}

#[test]
fn a_bundle_that_is_not_whole_is_refused_and_leaves_nothing() {
    let from = scratch();
    let source = filled(&from, 1);
    let report = from.ingest(&source).unwrap();
    let file = from.path("bundle");
    from.store.export_bundle(&[report.baseline], &file, false, &()).unwrap();
    let sound = fs::read(&file).unwrap();
    let to = scratch();
    let refuse = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let error = to.store.import_bundle(&file, &()).unwrap_err();
        assert!(matches!(error, Error::Bundle { .. }), "{error}");
        assert_eq!(litter(&to), 0, "{error}");
    };
    for at in (0..sound.len()).step_by(sound.len() / 40).chain([8, 16, sound.len() - 1]) {
        let mut broken = sound.clone();
        broken[at] ^= 4;
        refuse(&broken);
        // The hash at the end proves nothing about who made it.
        let (body, _) = broken.split_at(sound.len() - 32);
        if at < body.len() {
            let forged = [body, blake3::hash(body).as_bytes()].concat();
            refuse(&forged);
        }
    }
    for len in [0, 15, 16, 63, 64, 1000, sound.len() / 2, sound.len() - 1] {
        refuse(&sound[..len]);
    }
    refuse(&[&sound[..], b"x"].concat());
    fs::write(&file, &sound).unwrap();
    to.store.import_bundle(&file, &()).unwrap();
    assert!(to.store.verify(&()).unwrap().is_clean());
}

#[test]
fn a_bundle_replaces_nothing_unless_told_to() {
    let from = scratch();
    let source = filled(&from, 1);
    let report = from.ingest(&source).unwrap();
    let file = from.path("bundle");
    fs::write(&file, "mine").unwrap();
    let ids = [report.baseline];
    let error = from.store.export_bundle(&ids, &file, false, &()).unwrap_err();
    assert!(matches!(error, Error::Exists(_)));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    from.store.export_bundle(&ids, &file, true, &()).unwrap();
    let absent = from.path("absent/bundle");
    let error = from.store.export_bundle(&ids, &absent, false, &()).unwrap_err();
    assert!(matches!(error, Error::NoParent(_)), "{error}");
}
