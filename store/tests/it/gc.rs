use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyro_format::TreePath;
use pyro_store::{
    CheckoutOptions, Error, GcOptions, GcReport, IngestOptions, IngestReport, IngestSource, Root,
    Store, StoreOptions,
};

use crate::support::{Scratch, look, noise, scratch};

fn collect(store: &Store) -> GcReport {
    store.gc(&GcOptions::default(), &Vec::new, &()).unwrap()
}

fn plan(store: &Store) -> GcReport {
    let options = GcOptions { dry_run: true, ..GcOptions::default() };
    store.gc(&options, &Vec::new, &()).unwrap()
}

fn write(dir: &Path, names: std::ops::Range<u64>, seed: u64) {
    for at in names {
        let sub = dir.join(format!("d{}", at % 7));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(format!("f{at}")), noise(seed + at, 300 + (at as usize * 977) % 90_000))
            .unwrap();
    }
}

fn root(report: &IngestReport) -> Root {
    Root { root: report.root, times: Some(report.key.times) }
}

fn unrecorded(scratch: &Scratch, source: &Path) -> IngestReport {
    let options = IngestOptions { unrecorded: true, ..IngestOptions::default() };
    scratch.ingest_with(source, &options).unwrap()
}

#[test]
fn what_only_a_forgotten_baseline_reached_leaves_and_the_rest_is_as_it_was() {
    let mut scratch = scratch();
    let source = scratch.source();
    write(&source, 0..60, 1);
    let kept = scratch.ingest(&source).unwrap();
    let before = look(&source);
    write(&source, 60..120, 500);
    let dropped = scratch.ingest(&source).unwrap().baseline;
    assert_eq!(plan(&scratch.store).objects_unused, 0);
    scratch.store.remove_baseline(dropped).unwrap();
    let planned = plan(&scratch.store);
    assert!(planned.bytes_reclaimable > 2_000_000, "{planned:?}");
    let size = |store: &Store| store.stats().unwrap().stored_bytes;
    let full = size(&scratch.store);
    let done = collect(&scratch.store);
    assert_eq!(full - size(&scratch.store), done.bytes_reclaimed as u64);
    assert!(done.bytes_reclaimed as u64 >= planned.bytes_reclaimable * 9 / 10, "{done:?}");
    for _ in 0..2 {
        assert!(scratch.store.verify(&()).unwrap().is_clean());
        assert_eq!(plan(&scratch.store).objects_unused, 0);
        scratch.reopen();
    }
    let out = scratch.check_out(&kept, "out");
    assert_eq!(look(&out), before);
    // Files whose content has left are read again.
    let again = scratch.ingest(&source).unwrap();
    assert_eq!((again.baseline, again.files_unchanged), (dropped, 60));
    assert!(scratch.store.verify(&()).unwrap().is_clean());
}

#[test]
fn a_second_collection_finds_nothing_to_do() {
    let scratch = scratch();
    let source = scratch.source();
    write(&source, 0..40, 1);
    scratch.ingest(&source).unwrap();
    collect(&scratch.store);
    let again = collect(&scratch.store);
    assert_eq!((again.packs_removed, again.packs_rewritten, again.bytes_reclaimed), (0, 0, 0));
}

#[test]
fn what_was_written_in_haste_is_made_smaller() {
    let scratch = scratch();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let report = scratch.ingest(&source).unwrap();
    let before = scratch.store.stats().unwrap().stored_bytes;
    let done = collect(&scratch.store);
    assert!(done.packs_rewritten == 1 && done.bytes_reclaimed > 0, "{done:?}");
    assert!(scratch.store.stats().unwrap().stored_bytes < before);
    assert_eq!(look(&scratch.check_out(&report, "out")), look(&source));
}

#[test]
fn named_and_pinned_trees_stay_and_so_does_what_open_operations_found() {
    let scratch = scratch();
    let source = scratch.source();
    write(&source, 0..30, 1);
    let report = unrecorded(&scratch, &source);
    let (top, named) = (report.root, [root(&report)]);
    collect(&scratch.store);
    drop(report);
    let whole = |store: &Store| {
        store.get_root(top).is_ok()
            && store.has_file(pyro_format::FileId::of(&noise(1, 300)), 300).unwrap()
    };
    scratch.store.gc(&GcOptions::default(), &|| named.to_vec(), &()).unwrap();
    assert!(whole(&scratch.store));
    let pin = scratch.store.pin(named[0]);
    collect(&scratch.store);
    assert!(whole(&scratch.store));
    drop(pin);
    let hold = scratch.store.hold();
    let chunk = pyro_format::ChunkId::of(&noise(1, 300));
    assert!(scratch.store.has_chunk(chunk));
    let done = collect(&scratch.store);
    assert!(scratch.store.has_chunk(chunk), "{done:?}");
    drop(hold);
    collect(&scratch.store);
    assert!(!whole(&scratch.store));
    assert_eq!(scratch.store.stats().unwrap().packs, 0);
}

#[test]
fn nothing_in_young_packs_is_dropped_for_the_grace_period() {
    let scratch = scratch();
    let source = scratch.source();
    write(&source, 0..10, 1);
    let baseline = scratch.ingest(&source).unwrap().baseline;
    scratch.store.remove_baseline(baseline).unwrap();
    let options = GcOptions { grace: Duration::from_secs(3600), ..GcOptions::default() };
    let done = scratch.store.gc(&options, &Vec::new, &()).unwrap();
    assert_eq!((done.packs_removed, done.packs_in_use, done.objects_unused), (0, 1, 0));
    assert!(scratch.store.has_chunk(pyro_format::ChunkId::of(&noise(1, 300))));
    collect(&scratch.store);
    assert_eq!(scratch.store.stats().unwrap().packs, 0);
}

#[test]
fn a_store_with_something_missing_is_not_collected() {
    let mut scratch = scratch();
    let source = scratch.source();
    write(&source, 0..10, 1);
    scratch.ingest(&source).unwrap();
    fs::remove_file(scratch.pack()).unwrap();
    scratch.reopen();
    write(&source, 10..20, 1);
    let error = scratch.store.gc(&GcOptions::default(), &Vec::new, &()).unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }), "{error}");
}

#[test]
fn a_healthy_source_heals_what_was_damaged_and_a_collection_removes_the_damage() {
    for (what, at) in [("a frame", 5_000), ("the trailer", usize::MAX)] {
        let mut scratch = scratch();
        let source = scratch.source();
        write(&source, 0..40, 1);
        let report = scratch.ingest(&source).unwrap();
        let pack = scratch.pack();
        let mut bytes = fs::read(&pack).unwrap();
        let at = at.min(bytes.len() - 20);
        bytes[at] ^= 1;
        fs::write(&pack, &bytes).unwrap();
        if what == "a frame" {
            scratch.reopen();
        }
        assert!(!scratch.store.verify(&()).unwrap().is_clean(), "{what}");
        let again = scratch.ingest(&source).unwrap();
        assert_eq!(again.baseline, report.baseline);
        collect(&scratch.store);
        for _ in 0..2 {
            let verified = scratch.store.verify(&()).unwrap();
            assert!(
                verified.is_clean() && verified.healed_objects.is_empty(),
                "{what} {verified:?}"
            );
            scratch.reopen();
        }
        assert_eq!(look(&scratch.check_out(&report, "out")), look(&source));
    }
}

#[test]
fn collections_and_everything_else_go_on_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { pack_bytes: 200_000, ..crate::support::options() };
    let store = Store::open(&dir.path().join("store"), options).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0u64..2)
            .map(|worker| {
                let (store, dir) = (&store, dir.path());
                scope.spawn(move || {
                    let source = dir.join(format!("source-{worker}"));
                    for round in 0..12u64 {
                        write(&source, round * 5..round * 5 + 25, worker);
                        let from = IngestSource::Directory(source.clone());
                        let report = store.ingest(&from, &IngestOptions::default(), &()).unwrap();
                        let out = dir.join(format!("out-{worker}-{round}"));
                        let options = CheckoutOptions { durable: false, ..Default::default() };
                        store
                            .checkout_baseline(
                                report.baseline,
                                &TreePath::root(),
                                &out,
                                &options,
                                &(),
                            )
                            .unwrap();
                        assert_eq!(look(&out), look(&source));
                        if round % 3 != 0 {
                            store.remove_baseline(report.baseline).unwrap();
                        }
                        fs::remove_dir_all(source.join(format!("d{}", round % 7))).unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                collect(&store);
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    collect(&store);
    assert!(store.verify(&()).unwrap().is_clean());
    assert_eq!(plan(&store).bytes_reclaimable, 0);
}
