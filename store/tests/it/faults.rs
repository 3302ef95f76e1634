//! The operating system fails, or the process dies, at a chosen system call: strace injects it, into a
//! child that works on a real store. Whatever fails, the child says so and does not panic; what it
//! acknowledged is there afterwards, the store is whole, and the same work then succeeds.
//!
//! `PYRO_FAULT_STEP=1` tries every call of each kind instead of some.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use pyro_format::BaselineId;
use pyro_store::{GcOptions, IngestOptions, IngestSource, Store, StoreOptions};

use crate::support::noise;

const CHILD: &str = "PYRO_STORE_TEST_FAULTS";
const NAME: &str = "faults::whatever_fails_nothing_acknowledged_is_lost";
/// How the child ends when it was told of a failure.
const TOLD: i32 = 3;

/// System calls, what happens to one of them, and of how many calls between two that are tried.
const FAULTS: [(&str, &str, usize); 9] = [
    ("write,pwrite64", "error=ENOSPC", 4),
    ("write,pwrite64", "error=EIO", 7),
    ("fsync,fdatasync", "error=EIO", 3),
    ("rename,renameat,renameat2", "error=EIO", 2),
    ("unlink,unlinkat", "error=EIO", 1),
    ("mkdir,mkdirat", "error=ENOSPC", 3),
    ("fsync,fdatasync", "signal=KILL", 3),
    ("rename,renameat,renameat2", "signal=KILL", 2),
    ("unlink,unlinkat", "signal=KILL", 1),
];

fn options() -> StoreOptions {
    StoreOptions { pack_bytes: 60_000, threads: 1, dense_level: 3, ..crate::support::options() }
}

/// Tells the parent, unless that fails too.
fn say(line: &str) -> bool {
    std::io::stdout().lock().write_all(format!("\n@{line}\n").as_bytes()).is_ok()
}

fn change(source: &Path, round: u64) {
    for at in 0..4 {
        let name = source.join(format!("f{at}"));
        fs::write(name, noise(round * 10 + at, 30_000)).unwrap();
    }
}

/// Sources are made before anything fails.
fn sources(dir: &Path) -> [IngestSource; 2] {
    ["first", "second"].map(|name| IngestSource::Directory(dir.join(name)))
}

fn work(dir: &Path) -> pyro_store::Result<()> {
    let store = Store::open(&dir.join("store"), options())?;
    let old = store.baseline_ids()?;
    let [first, second] = sources(dir);
    say(&format!("has {}", store.ingest(&first, &IngestOptions::default(), &())?.baseline));
    for id in old {
        if say(&format!("loses {id}")) {
            store.remove_baseline(id)?;
        }
    }
    store.gc(&GcOptions { threads: 1, ..GcOptions::default() }, &Vec::new, &())?;
    say(&format!("has {}", store.ingest(&second, &IngestOptions::default(), &())?.baseline));
    Ok(())
}

fn child(dir: &Path) -> ! {
    let code = match work(dir) {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("told {error}"));
            TOLD
        }
    };
    std::process::exit(code)
}

/// Whether strace may trace here. Without it nothing is injected, and nothing is claimed.
fn can_trace() -> bool {
    let quiet = || Stdio::null();
    let mut strace = Command::new("strace");
    let probe = strace.args(["-f", "-e", "trace=none", "true"]).stdout(quiet()).stderr(quiet());
    let can = probe.status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: strace is not there, or may not trace");
    }
    can
}

/// Makes a store with one baseline, and two sources.
fn prepare(dir: &Path) -> BaselineId {
    for (name, round) in [("zeroth", 0), ("first", 1), ("second", 2)] {
        fs::create_dir(dir.join(name)).unwrap();
        change(&dir.join(name), round);
    }
    let store = Store::open(&dir.join("store"), options()).unwrap();
    let zeroth = IngestSource::Directory(dir.join("zeroth"));
    store.ingest(&zeroth, &IngestOptions::default(), &()).unwrap().baseline
}

/// Runs the child with one fault; whether the fault was reached.
fn run(calls: &str, fault: &str, when: usize) -> bool {
    let context = format!("{fault} at {calls} number {when}");
    let dir = tempfile::tempdir().unwrap();
    let old = prepare(dir.path());
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={calls}"))
        .arg("-e")
        .arg(format!("inject={calls}:{fault}:when={when}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Vec<_> = text.lines().filter_map(|line| line.strip_prefix('@')).collect();
    let told = said.iter().any(|line| line.starts_with("told "));
    let killed = output.status.code().is_none();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("io error when listing tests") {
        // The test harness's own first line: nothing of ours ran.
        return true;
    }
    assert!(
        output.status.success() || killed || output.status.code() == Some(TOLD),
        "{context}: {:?} {stderr}",
        output.status
    );

    let store = Store::open(&dir.path().join("store"), options()).unwrap();
    let found: BTreeSet<_> = store.baseline_ids().unwrap().into_iter().collect();
    let ids = |word: &str| -> Vec<BaselineId> {
        said.iter().filter_map(|line| Some(line.strip_prefix(word)?.parse().unwrap())).collect()
    };
    let gone = ids("loses ");
    for id in ids("has ").into_iter().chain([old]).filter(|id| !gone.contains(id)) {
        assert!(found.contains(&id), "{context}: {id} is gone");
    }
    let report = store.verify(&()).unwrap();
    assert!(report.is_clean(), "{context}: {report:?}");
    drop(store);
    // The same work then succeeds.
    work(dir.path()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let store = Store::open(&dir.path().join("store"), options()).unwrap();
    assert!(store.verify(&()).unwrap().is_clean(), "{context}");
    told || killed || !output.status.success()
}

#[test]
fn whatever_fails_nothing_acknowledged_is_lost() {
    if let Some(dir) = std::env::var_os(CHILD) {
        child(Path::new(&dir));
    }
    if !can_trace() {
        return;
    }
    let step = std::env::var("PYRO_FAULT_STEP").ok().map(|text| text.parse::<usize>().unwrap());
    let mut reached = Vec::new();
    for (calls, fault, usual) in FAULTS {
        let (mut when, mut hits, mut misses) = (1, 0, 0);
        // What is only remembered may fail without anybody being told; a few in a row mean that
        // there are no more such calls.
        while misses < 4 && hits < 400 {
            if run(calls, fault, when) {
                (hits, misses) = (hits + 1, 0);
            } else {
                misses += 1;
            }
            when += step.unwrap_or(usual);
        }
        assert!(hits > 0 || fault.contains("unlink"), "{fault} at {calls} was never reached");
        reached.push(format!("{calls} {fault}: {hits}"));
    }
    eprintln!("{reached:#?}");
}
