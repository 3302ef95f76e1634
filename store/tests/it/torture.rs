//! A child process works on a store until it is killed, anywhere, again and again. After each kill the
//! store must open, be whole, and have exactly what was acknowledged.
//!
//! `PYRO_TORTURE_KILLS` sets how often (200), `PYRO_TORTURE_SEED` with which numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyro_format::{BaselineId, TreePath};
use pyro_store::{CheckoutOptions, GcOptions, IngestOptions, IngestSource, Store, StoreOptions};

use crate::support::{look, noise};

const CHILD: &str = "PYRO_STORE_TEST_TORTURE";
const NAME: &str = "torture::what_was_acknowledged_survives_every_kill";

/// Small packs, so that each ingest and collection touches several.
fn options() -> StoreOptions {
    StoreOptions { pack_bytes: 60_000, threads: 2, dense_level: 3, ..crate::support::options() }
}

/// Numbers that look random and come again with the same seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn change(source: &Path, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        let dir = source.join(format!("d{}", numbers.below(4)));
        let file = dir.join(format!("f{}", numbers.below(6)));
        match numbers.below(8) {
            0 => drop(fs::remove_dir_all(&dir)),
            1 => drop(fs::remove_file(&file)),
            _ => {
                fs::create_dir_all(&dir).unwrap();
                let len = [0, 1, 500, 20_000, 150_000][numbers.below(5) as usize];
                fs::write(&file, noise(numbers.below(1000), len)).unwrap();
            }
        }
    }
}

/// Works until it is killed. Says what it begins, and what is acknowledged.
fn child(dir: &Path, seed: u64) {
    let mut numbers = Numbers(seed);
    let source = dir.join("source");
    say("begin open");
    let store = Store::open(&dir.join("store"), options()).unwrap();
    loop {
        match numbers.below(10) {
            0..4 => {
                change(&source, &mut numbers);
                say("begin ingest");
                let from = IngestSource::Directory(source.clone());
                let report = store.ingest(&from, &IngestOptions::default(), &()).unwrap();
                say(&format!("has {}", report.baseline));
            }
            4 => {
                say("begin unrecorded");
                let mut writer = store.writer().unwrap();
                for _ in 0..numbers.below(20) {
                    writer.put_chunk(&noise(numbers.below(1000), 9000)).unwrap();
                }
                writer.commit().unwrap();
            }
            5..7 => {
                let ids = store.baseline_ids().unwrap();
                if ids.len() > 3 {
                    let id = ids[numbers.below(ids.len() as u64) as usize];
                    say(&format!("begin delete {id}"));
                    store.remove_baseline(id).unwrap();
                    say(&format!("lost {id}"));
                }
            }
            7 => {
                say("begin checkout");
                if let Some(id) = store.baseline_ids().unwrap().first() {
                    let dest = dir.join("out");
                    let force = CheckoutOptions { force: true, durable: false };
                    let root = TreePath::root();
                    store.checkout_baseline(*id, &root, &dest, &force, &()).unwrap();
                }
            }
            _ => {
                say("begin gc");
                let dense = numbers.below(2) == 0;
                let options = GcOptions { dense, threads: 1, ..GcOptions::default() };
                store.gc(&options, &Vec::new, &()).unwrap();
            }
        }
    }
}

/// What the store must have, may have, and must not have.
#[derive(Default)]
struct Model {
    has: BTreeSet<BaselineId>,
    begun: String,
}

impl Model {
    fn hear(&mut self, line: &str) {
        let id = |text: &str| text.parse::<BaselineId>().unwrap();
        if let Some(begun) = line.strip_prefix("begin ") {
            begun.clone_into(&mut self.begun);
            return;
        }
        if let Some(had) = line.strip_prefix("has ") {
            self.has.insert(id(had));
        } else if let Some(lost) = line.strip_prefix("lost ") {
            self.has.remove(&id(lost));
        }
        "between".clone_into(&mut self.begun);
    }

    /// Compares with what is there, and takes over what could not be known.
    fn check(&mut self, store: &Store, context: &str) {
        let found: BTreeSet<_> = store.baseline_ids().unwrap().into_iter().collect();
        let deleting = self.begun.strip_prefix("delete ").map(|id| id.parse().unwrap());
        for id in &self.has {
            assert!(found.contains(id) || deleting == Some(*id), "{context}: {id} is gone");
        }
        let new: Vec<_> = found.difference(&self.has).collect();
        assert!(new.len() <= usize::from(self.begun == "ingest"), "{context}: {new:?} came");
        let report = store.verify(&()).unwrap();
        assert!(report.is_clean(), "{context}: {report:?}");
        self.has = found;
    }
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let number = |name: &str, default| {
        std::env::var(name).ok().map_or(default, |text| text.parse::<u64>().unwrap())
    };
    let seed = number("PYRO_TORTURE_SEED", 1);
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(Path::new(&dir), seed);
    }
    let kills = number("PYRO_TORTURE_KILLS", 200);
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("source")).unwrap();
    let mut numbers = Numbers(seed);
    let (mut model, mut phases) = (Model::default(), BTreeMap::<String, u64>::new());
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, dir.path())
            .env("PYRO_TORTURE_SEED", numbers.below(u64::MAX).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let delay = Duration::from_micros(numbers.below(120_000));
        let until = Instant::now() + delay;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listener = std::thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            lines.filter_map(|line| Some(line.strip_prefix('@')?.to_owned())).collect::<Vec<_>>()
        });
        // A kill at a random moment is what is tested; nothing waits for anything here.
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        assert!(child.try_wait().unwrap().is_none(), "kill {kill}: the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        model.begun = "start".into();
        for line in listener.join().unwrap() {
            model.hear(&line);
        }
        let phase = model.begun.split(' ').next().unwrap().to_owned();
        *phases.entry(phase).or_default() += 1;
        let store = Store::open(&dir.path().join("store"), options()).unwrap();
        let context = format!("kill {kill} of seed {seed}, {delay:?} after the start");
        model.check(&store, &context);
        let unfinished = |sub: &str| {
            let names = fs::read_dir(store.dir().join(sub)).unwrap();
            names
                .filter(|name| {
                    let name = name.as_ref().unwrap().file_name();
                    name.as_encoded_bytes().starts_with(b".unfinished-")
                })
                .count()
        };
        assert_eq!(unfinished("packs") + unfinished("baselines"), 0, "{context}");
        assert_eq!(fs::read_dir(store.dir().join("checkouts")).unwrap().count(), 0, "{context}");
        if kill % 500 == 499 {
            eprintln!("{} kills, by what was under way: {phases:?}", kill + 1);
        }
        if kill % 20 == 0 {
            // What is acknowledged is also what it should be, byte for byte.
            let from = IngestSource::Directory(dir.path().join("source"));
            let report = store.ingest(&from, &IngestOptions::default(), &()).unwrap();
            let out = dir.path().join(format!("out-{kill}"));
            let plain = CheckoutOptions { durable: false, ..CheckoutOptions::default() };
            let root = TreePath::root();
            store.checkout_baseline(report.baseline, &root, &out, &plain, &()).unwrap();
            assert_eq!(look(&out), look(&dir.path().join("source")), "{context}");
            fs::remove_dir_all(out).unwrap();
            model.has.insert(report.baseline);
            // Children are killed before they have deleted much: the store must stay small.
            let surplus: Vec<_> = model.has.iter().copied().skip(5).collect();
            for id in surplus {
                store.remove_baseline(id).unwrap();
                model.has.remove(&id);
            }
            store.gc(&GcOptions { threads: 1, ..GcOptions::default() }, &Vec::new, &()).unwrap();
        }
    }
    eprintln!("{kills} kills, by what was under way: {phases:?}");
}
