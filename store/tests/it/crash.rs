use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyro_format::BaselineId;
use pyro_store::{IngestOptions, IngestSource, Store, StoreOptions};

use crate::support::noise;

const CHILD: &str = "PYRO_STORE_TEST_CRASH";

fn small_packs() -> StoreOptions {
    StoreOptions { pack_bytes: 300_000, ..crate::support::options() }
}

/// Ingests again and again, saying each baseline once it is acknowledged, until it is killed.
fn child(dir: &Path) {
    let store = Store::open(&dir.join("store"), small_packs()).unwrap();
    let source = dir.join("source");
    let seed = store.baseline_ids().unwrap().len() as u64 * 1000;
    for round in seed.. {
        for at in 0..4 {
            let name = source.join(format!("d{at}/f{}", round % 5));
            fs::create_dir_all(name.parent().unwrap()).unwrap();
            fs::write(name, noise(round * 7 + at, 1000 + (round as usize * 7919) % 400_000))
                .unwrap();
        }
        let source = IngestSource::Directory(source.clone());
        let report = store.ingest(&source, &IngestOptions::default(), &()).unwrap();
        println!("\nacknowledged {}", report.baseline);
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9_at_any_point() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<BaselineId> = Vec::new();
    let mut finished = 0;
    for round in 0u64..15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::what_was_acknowledged_survives_kill_9_at_any_point"])
            .arg("--nocapture")
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = || -> Option<BaselineId> {
            lines
                .by_ref()
                .map_while(Result::ok)
                .find_map(|line| line.strip_prefix("acknowledged ").map(|id| id.parse().unwrap()))
        };
        // Some rounds die while opening; the others somewhere in a later ingest.
        for _ in 0..round % 4 {
            acknowledged.extend(read());
        }
        let delay =
            Duration::from_micros(blake3::hash(&round.to_le_bytes()).as_bytes()[0] as u64 * 97);
        let until = Instant::now() + delay;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(std::iter::from_fn(read));

        let store = Store::open(&dir.path().join("store"), small_packs()).unwrap();
        let on_record = store.baseline_ids().unwrap();
        for id in &acknowledged {
            assert!(on_record.contains(id), "round {round}: {id} is gone");
        }
        let report = store.verify(&()).unwrap();
        assert!(report.is_clean(), "round {round}: {report:?}");
        for sub in ["packs", "baselines", "checkouts"] {
            for entry in fs::read_dir(store.dir().join(sub)).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(!name.to_string_lossy().starts_with('.'), "round {round}: {name:?}");
            }
        }
        finished = on_record.len();
    }
    assert!(finished >= acknowledged.len() && acknowledged.len() > 10);
}
