//! What is shown of a workspace is one moment of it, and stays to be had.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Home, told};
use crate::tree::str_of;

/// Writes one counter after the other into its own file, round after round; each write is one call.
const WRITER: &str = "
import os
files = [os.open(f'counters/{n:02}', os.O_RDWR) for n in range(50)]
turn = 0
while True:
    turn += 1
    for file in files:
        os.pwrite(file, b'%08d\\n' % turn, 0)
";

/// Makes, reads and removes files all the time; ends when one of its steps fails.
const BUILD: &str = "
mkdir -p build
while :; do
    seq 1 2000 > build/input
    tar -C build -cf build/out.tar input
    rm -rf build/copy && mkdir build/copy && tar -C build/copy -xf build/out.tar
    cmp build/input build/copy/input
done";

fn detached(home: &Home, id: &str, command: &[&str]) -> String {
    let start = ["workspace", "exec", id, "--json", "--detach", "--"];
    let output = home.output(start.iter().chain(command));
    assert!(output.status.success(), "{}", told(&output));
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    view["sequence"].to_string()
}

/// Fails unless these counters are a prefix of the writer's history; the first of them.
fn assert_one_moment(counters: &[u64], what: &str) -> u64 {
    let falls = counters.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let (first, last) = (counters[0], counters[counters.len() - 1]);
    assert!(falls <= 1 && (last == first || last + 1 == first), "{what}: {counters:?}");
    first
}

fn counters_in(dir: &Path) -> Vec<u64> {
    let read = |n: usize| {
        let text = fs::read_to_string(dir.join(format!("{n:02}"))).unwrap();
        text.trim().parse().unwrap_or_else(|_| panic!("{n}: {text:?}"))
    };
    (0..50).map(read).collect()
}

fn counters_of(patch: &str) -> Vec<u64> {
    let mut counters = vec![0; 50];
    let mut at = None;
    for line in patch.lines() {
        if let Some(name) = line.strip_prefix("+++ b/counters/") {
            at = Some(name.parse::<usize>().unwrap());
        } else if let (Some(n), Some(value)) = (at, line.strip_prefix('+')) {
            counters[n] = value.parse().unwrap();
            at = None;
        }
    }
    counters
}

#[test]
fn a_busy_workspace_is_shown_as_of_one_moment() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("counters")).unwrap();
    for n in 0..50 {
        fs::write(seed.join(format!("counters/{n:02}")), "00000000\n").unwrap();
    }
    let id = home.workspace(&seed);
    let writer = detached(&home, &id, &["python3", "-c", WRITER]);
    let build = detached(&home, &id, &["sh", "-ec", BUILD]);

    let mut seen = 0;
    let mut advances = |counters: Vec<u64>, what: &str| {
        let now = assert_one_moment(&counters, what);
        assert!(now >= seen, "{what}: {now} after {seen}");
        seen = now;
    };
    for round in 0..20 {
        let diff = home.json(["workspace", "diff", &id]);
        assert_eq!(diff["report"]["frozen"], true, "{diff}");
        assert_eq!(diff["pinned"], true);
        advances(counters_of(str_of(&diff, "patch")), "diff");
        if round % 5 == 0 {
            let name = format!("round-{round}");
            let made = home.json(["workspace", "snapshot", "create", &id, &name]);
            assert_eq!(made["frozen"], true, "{made}");
            let out = home.scratch(&name);
            let to = out.to_str().unwrap();
            home.json([
                "workspace",
                "export",
                &id,
                "counters",
                "--snapshot",
                &name,
                "--output",
                to,
            ]);
            advances(counters_in(&out), "snapshot");
            let out = home.scratch(&format!("live-{round}"));
            let to = out.to_str().unwrap();
            let reply = home.json(["workspace", "export", &id, "counters", "--output", to]);
            assert_eq!(reply["frozen"], true, "{reply}");
            advances(counters_in(&out), "export");
        }
    }
    for sequence in [writer, build] {
        let view = home.json(["workspace", "exec", "read", &id, &sequence]);
        assert_eq!(str_of(&view, "state"), "running", "{view}");
    }
    // Pushes and commands go on, too: nothing is left frozen.
    assert_eq!(home.sh(&id, "echo on"), "on\n");
}

#[test]
fn what_was_shown_is_exported_whatever_the_guest_did_since() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("kept"), "kept\n").unwrap();
    let id = home.workspace(&seed);
    home.sh(&id, "seq 1 300000 > big; echo one > small; ln -s small link");
    let big = (1..=300_000).map(|n| format!("{n}\n")).collect::<String>();
    let shown = home.json(["workspace", "diff", &id]);
    assert_eq!(shown["pinned"], true);
    let tree = str_of(&shown, "tree").to_owned();
    let loose = home.json(["workspace", "diff", &id, "--no-pin", "--full"]);
    assert_eq!((str_of(&loose, "tree"), &loose["pinned"]), (tree.as_str(), &true.into()));

    home.sh(&id, "rm big link kept; echo two > small; mkdir link");
    let (first, second) = (home.scratch("first"), home.scratch("second"));
    let export = |to: &Path| {
        let to = to.to_str().unwrap();
        let reply = home.json(["workspace", "export", &id, ".", "--tree", &tree, "--output", to]);
        assert_eq!(reply["bytes_fetched"], 0, "{reply}");
        assert_eq!(fs::read_to_string(Path::new(to).join("big")).unwrap(), big);
        assert_eq!(fs::read_to_string(Path::new(to).join("small")).unwrap(), "one\n");
        assert_eq!(fs::read_link(Path::new(to).join("link")).unwrap(), Path::new("small"));
        assert_eq!(fs::read_to_string(Path::new(to).join("kept")).unwrap(), "kept\n");
    };
    export(&first);
    // Not even the machine is needed, nor the daemon that showed it.
    home.json(["workspace", "stop", &id]);
    home.ok(["daemon", "stop"]);
    export(&second);
}
