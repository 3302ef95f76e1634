//! The tree that a change report gives is the tree that a full scan sees, whatever was done.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::Home;
use crate::tree::{Listing, python, str_of};

/// What is done in the guest.
const OPERATIONS: &str = include_str!("operations.py");

/// Makes a random tree: SEED, DIRECTORY.
const SEED_TREE: &str = r#"
import os, random, sys
pick, names = random.Random(int(sys.argv[1])), ["a", "b", "c", "d"]
def fill(at, depth):
    os.makedirs(at)
    for n in range(pick.randrange(1, 5)):
        size = pick.choice([0, 10, 3000, pick.randrange(200_000)])
        with open(os.path.join(at, f"f{n}"), "wb") as file:
            file.write(pick.randbytes(size))
        os.chmod(file.name, pick.choice([0o644, 0o600, 0o755]))
        os.utime(file.name, ns=(0, pick.randrange(2**60)))
    os.symlink(pick.choice(["f0", "../a", "/gone"]), os.path.join(at, "link"))
    for name in names if depth else []:
        if pick.random() < 0.7:
            fill(os.path.join(at, name), depth - 1)
fill(sys.argv[2], 3)
"#;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// `PYRO_PROPERTY_SEED` repeats a run, `PYRO_PROPERTY_CASES` and `PYRO_PROPERTY_ROUNDS` lengthen it.
#[test]
fn the_change_report_gives_the_tree_that_a_full_scan_sees() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = number("PYRO_PROPERTY_SEED", now.as_micros() as u64 % 1_000_000_000);
    for seed in first..first + number("PYRO_PROPERTY_CASES", 2) {
        eprintln!("PYRO_PROPERTY_SEED={seed}");
        case(&Home::new(), seed, number("PYRO_PROPERTY_ROUNDS", 4));
    }
}

/// Some rounds of random operations on a random tree.
pub fn case(home: &Home, seed: u64, rounds: u64) {
    let tree = home.scratch("seed");
    python(SEED_TREE, [seed.to_string().as_ref(), tree.as_os_str()]);
    let id = home.workspace(&tree);
    let mut player = Player::start(home, &id, seed);
    for round in 0..rounds {
        player.go();
        let quick = home.json(["workspace", "diff", &id]);
        let full = home.json(["workspace", "diff", "--full", &id]);
        assert_eq!(str_of(&quick, "tree"), str_of(&full, "tree"), "round {round}");
        let output = home.scratch(&format!("out{round}"));
        let exported =
            home.json(["workspace", "export", &id, ".", "--output", output.to_str().unwrap()]);
        assert_eq!(exported["tree"], quick["tree"], "round {round}");
        let mut guest = Listing::guest(home, &id).storable();
        // No other bits ever leave a workspace.
        for item in guest.0.values_mut().filter(|item| item.mode != "-") {
            let mode = u32::from_str_radix(&item.mode, 8).unwrap();
            item.mode = format!("{:o}", mode & 0o777);
        }
        Listing::host(&output).is(&guest);
    }
    player.end();

    home.sh(&id, "chmod 755 .; find . -mindepth 1 -delete");
    home.ok(["workspace", "sync", "push", &id, tree.to_str().unwrap()]);
    let back = home.json(["workspace", "diff", &id]);
    assert_eq!(back["entries"], serde_json::json!([]), "the seed again is the baseline again");
    assert_eq!(back["tree"], back["baseline_tree"]);
}

/// The script that plays random operations, waiting for the next round.
struct Player<'h> {
    home: &'h Home,
    workspace: String,
    script: Child,
    log: PathBuf,
}

impl<'h> Player<'h> {
    fn start(home: &'h Home, workspace: &str, seed: u64) -> Self {
        home.sh(workspace, "mkfifo /tmp/go /tmp/done");
        let log = home.scratch("operations.log");
        let output = File::create(&log).unwrap();
        // Only root reads, on the host, what nobody may read.
        let root = rustix::process::geteuid().is_root();
        let modes = if root { "any" } else { "readable" };
        let script = home
            .command(["workspace", "exec", workspace, "--", "python3", "-c", OPERATIONS])
            .args([&seed.to_string(), "/workspace", "/tmp/go", "/tmp/done", "60", modes])
            .arg(if home.backend() == Some("host-compat") { "copies" } else { "renames" })
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { home, workspace: workspace.to_owned(), script, log }
    }

    fn go(&self) {
        let done = self.home.sh(&self.workspace, "echo go > /tmp/go; cat /tmp/done");
        assert_eq!(done, "done");
    }

    fn end(&mut self) {
        self.home.sh(&self.workspace, "echo end > /tmp/go");
        assert!(self.script.wait().unwrap().success());
    }
}

impl Drop for Player<'_> {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
        if std::thread::panicking() {
            eprintln!("{}", tail(&self.log));
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(200)..].join("\n")
}
