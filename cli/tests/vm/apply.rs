//! A workspace's changes come home: exactly those that were reviewed, and nothing is lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::attach::Desk;
use crate::mcp_client::Mcp;
use crate::support::{ENVIRONMENT, Home, told};
use crate::tree::{Listing, str_of};

const NUMBERS: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

fn seed(home: &Home) -> PathBuf {
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("src")).unwrap();
    for (name, text) in
        [("merged", NUMBERS), ("both", "one\n"), ("gone", "bye\n"), ("src/a", "a\n")]
    {
        fs::write(seed.join(name), text).unwrap();
    }
    seed
}

/// All that is in a directory; times are not what a workspace brings.
fn listing(dir: &Path) -> Listing {
    let mut listing = Listing::host(dir).timeless();
    listing.0.remove(&b""[..]);
    listing
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

fn actions(reply: &Value) -> Vec<(&str, &str)> {
    let entries = reply["entries"].as_array().unwrap().iter();
    entries.map(|entry| (str_of(entry, "path"), str_of(entry, "action"))).collect()
}

#[test]
fn what_was_reviewed_comes_home_and_is_taken_back() {
    let home = Home::new();
    let seed = seed(&home);
    let dir = seed.to_str().unwrap();
    let id = home.workspace(&seed);
    home.sh(
        &id,
        "sed -i s/2/two/ merged; echo guest > both; rm gone; echo new > src/new; ln -s /etc src/link
         printf 'echo evil\\n' > .envrc; chmod 4755 src/a; mkdir .git; echo evil > .git/config",
    );
    let tree = str_of(&home.json(["workspace", "diff", &id]), "tree").to_owned();
    home.sh(&id, "echo later > src/new; echo later > later");
    fs::write(seed.join("merged"), NUMBERS.replace('9', "nine")).unwrap();
    fs::write(seed.join("both"), "host\n").unwrap();
    fs::write(seed.join("mine"), "mine\n").unwrap();
    let before = listing(&seed);

    // Nobody can be asked, and it was not said what was reviewed.
    let (exit, error) = home.fails(["workspace", "apply", &id, dir]);
    assert_eq!((exit, str_of(&error, "code")), (2, "invalid_argument"), "{error}");
    let plan = home.json(["workspace", "apply", &id, dir, "--tree", &tree, "--dry-run"]);
    assert_eq!((&plan["applied"], str_of(&plan, "tree")), (&json!(false), &*tree));
    assert_eq!(listing(&seed), before, "a plan changes nothing");

    let output = home.output(["workspace", "apply", &id, dir, "--tree", &tree, "--json"]);
    assert_eq!(output.status.code(), Some(4), "a conflict is left: {}", told(&output));
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = [
        (".envrc", "create"),
        (".git", "refused"),
        ("both", "conflict"),
        ("gone", "delete"),
        ("merged", "merge"),
        ("src/a", "mode"),
        ("src/link", "create"),
        ("src/new", "create"),
    ];
    assert_eq!(actions(&reply), expected);
    assert_eq!(actions(&plan), expected);
    assert!(reply["warnings"].to_string().contains(".envrc"), "{reply}");
    assert_eq!(read(seed.join("merged")), NUMBERS.replace('2', "two").replace('9', "nine"));
    assert_eq!(read(seed.join("both")), "host\n");
    assert_eq!(read(seed.join("src/new")), "new\n", "the tree that was reviewed");
    assert_eq!(fs::read_link(seed.join("src/link")).unwrap(), Path::new("/etc"));
    assert_eq!(fs::metadata(seed.join("src/a")).unwrap().permissions().mode() & 0o7777, 0o755);
    for gone in ["gone", "later", ".git"] {
        assert!(!seed.join(gone).exists(), "{gone}");
    }

    // Also when the workspace is no more.
    home.ok(["workspace", "delete", &id]);
    let undone = home.json(["workspace", "apply", &id, dir, "--undo"]);
    assert_eq!((&undone["left"], str_of(&undone, "tree")), (&json!([]), &*tree));
    assert_eq!(listing(&seed), before);
    let (exit, error) = home.fails(["workspace", "apply", &id, dir, "--undo"]);
    assert_eq!((exit, str_of(&error, "code")), (4, "conflict"), "{error}");
    let applied = home.path().join("applied");
    let left: Vec<_> = fs::read_dir(applied).unwrap().flatten().map(|key| key.path()).collect();
    assert!(left.iter().all(|key| fs::read_dir(key).unwrap().count() == 0), "{left:?}");
}

#[test]
fn what_is_not_wanted_stays_in_the_workspace() {
    let home = Home::new();
    let seed = seed(&home);
    fs::write(seed.join(".gitignore"), "*.o\n").unwrap();
    let dir = seed.to_str().unwrap();
    let id = home.workspace(&seed);
    home.sh(&id, "mkdir new; echo 1 > new/a.c; echo 1 > new/a.o; echo 1 > src/b.c; echo 2 > both");
    let plan = ["workspace", "apply", &id, dir, "--dry-run", "--json", "--gitignore"];
    let planned = |more: &[&str]| -> Value {
        let output = home.output(plan.iter().chain(more));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)))
    };
    let all = planned(&[]);
    assert_eq!(all["hidden"]["by_gitignore"], 1);
    let expected =
        [("both", "replace"), ("new", "create"), ("new/a.c", "create"), ("src/b.c", "create")];
    assert_eq!(actions(&all), expected);
    let some = planned(&["new/a.c", "/workspace/src", "--exclude", "b.*"]);
    assert_eq!((&some["hidden"]["by_exclude"], &some["hidden"]["by_path"]), (&json!(1), &json!(3)));
    // The directory that it needs comes along.
    assert_eq!(actions(&some), [("new", "create"), ("new/a.c", "create")]);
    home.json(["workspace", "apply", &id, dir, "--yes", "new/a.c"]);
    assert_eq!(fs::read_dir(seed.join("new")).unwrap().count(), 1);
    assert_eq!(read(seed.join("both")), "one\n");
}

#[test]
fn only_the_seed_is_applied_to_unless_asked() {
    let home = Home::new();
    let seed = seed(&home);
    let id = home.workspace(&seed);
    home.sh(&id, "echo new > new");
    let elsewhere = home.scratch("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let file = seed.join("both");
    for (path, exit, code) in [
        (elsewhere.to_str().unwrap(), 2, "invalid_argument"),
        (file.to_str().unwrap(), 2, "invalid_argument"),
        (home.path().to_str().unwrap(), 2, "invalid_argument"),
        ("/no/such/directory", 3, "path_not_found"),
    ] {
        let (found, error) = home.fails(["workspace", "apply", &id, path, "--yes"]);
        assert_eq!((found, str_of(&error, "code")), (exit, code), "{path}: {error}");
    }
    let inside = home.path();
    let inside = inside.to_str().unwrap();
    let (exit, error) = home.fails(["workspace", "apply", &id, inside, "--yes", "--elsewhere"]);
    assert_eq!((exit, str_of(&error, "code")), (2, "invalid_argument"), "{error}");
    // A link to the seed is the seed.
    let link = home.scratch("link");
    symlink(&seed, &link).unwrap();
    let reply = home.json(["workspace", "apply", &id, link.to_str().unwrap(), "--yes"]);
    assert_eq!(str_of(&reply, "host_path"), seed.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(read(seed.join("new")), "new\n");
    let to = elsewhere.to_str().unwrap();
    home.json(["workspace", "apply", &id, to, "--yes", "--elsewhere"]);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    let other = home.workspace(&seed);
    let (exit, error) = home.fails(["workspace", "apply", &other, to, "--undo"]);
    assert_eq!((exit, str_of(&error, "code")), (4, "conflict"), "{error}");
    let fork = home.json(["workspace", "fork", &id]);
    let fork = str_of(&fork, "workspace_id");
    let plan = home.json(["workspace", "apply", fork, seed.to_str().unwrap(), "--dry-run"]);
    assert_eq!(plan["summary"]["unchanged"], 1, "a fork has the same home: {plan}");
}

#[test]
fn a_daemon_that_is_killed_while_it_applies_leaves_the_directory_as_it_was() {
    let home = Home::new();
    let seed = seed(&home);
    for n in 0..300 {
        fs::write(seed.join(format!("src/{n}")), format!("{n}\n")).unwrap();
    }
    let dir = seed.to_str().unwrap();
    let id = home.workspace(&seed);
    home.sh(
        &id,
        "cd src; for n in $(seq 0 299); do echo changed >> $n; done
         for n in $(seq 300 1500); do echo new > $n; done; rm a",
    );
    home.json(["workspace", "diff", &id]);
    let before = listing(&seed);
    let daemon = Pid::from_raw(home.daemon_pid());
    let mut apply = home.command(["workspace", "apply", &id, dir, "--yes"]).spawn().unwrap();
    // It is killed once the first path has changed.
    let deadline = Instant::now() + Duration::from_secs(60);
    while seed.join("src/a").exists() {
        assert!(Instant::now() < deadline, "it begins");
        std::thread::yield_now();
    }
    kill(daemon, Signal::SIGKILL).unwrap();
    assert!(!apply.wait().unwrap().success());
    home.json(["workspace", "status", &id]);
    assert_eq!(listing(&seed), before, "taken back when the next daemon starts");
    let reply = home.json(["workspace", "apply", &id, dir, "--yes"]);
    assert_eq!(
        (&reply["summary"]["created"], &reply["summary"]["replaced"]),
        (&json!(1201), &json!(300))
    );
    assert_eq!(read(seed.join("src/7")), "7\nchanged\n");
    assert_eq!(fs::read_dir(&seed).unwrap().count(), 4, "nothing temporary is left");
}

#[test]
fn a_person_is_shown_the_plan_and_asked() {
    let home = Home::new();
    let seed = seed(&home);
    let id = home.workspace(&seed);
    home.sh(&id, "echo new > new; echo guest > both");
    let apply = ["workspace", "apply", &id, seed.to_str().unwrap()];
    let mut desk = Desk::sit_down(&home, &apply, 110, 25);
    desk.expect("create   new");
    desk.expect("apply this? [y/N]");
    desk.type_in("\n");
    desk.expect("nothing was changed");
    desk.ends_with(0);
    assert!(!seed.join("new").exists());
    let mut desk = Desk::sit_down(&home, &apply, 110, 25);
    desk.expect("apply this? [y/N]");
    home.sh(&id, "echo later > new");
    desk.type_in("y\n");
    desk.expect("--undo");
    desk.ends_with(0);
    assert_eq!(read(seed.join("new")), "new\n", "what was shown");
}

#[test]
fn here_offers_to_apply_and_a_branch() {
    let home = Home::new();
    let seed = seed(&home);
    let mut desk =
        Desk::sit_down_in(&home, &seed, &["here", "--", "sh", "-c", "echo new > new"], 110, 25);
    desk.expect("[a]pply to this directory");
    desk.type_in("b\n");
    desk.expect("error:");
    desk.expect("[a]pply to this directory");
    desk.type_in("a\n");
    desk.expect("apply this? [y/N]");
    desk.type_in("y\n");
    desk.expect("applied to");
    desk.ends_with(0);
    assert_eq!(read(seed.join("new")), "new\n");
    assert_eq!(home.json(["workspace", "list"])["workspaces"], json!([]));

    let mut command =
        home.command(["here", "--apply", "--json", "--", "sh", "-c", "echo 2 >> new"]);
    let output = command.current_dir(&seed).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["outcome"], &document["apply"]["applied"]),
        (&json!("applied"), &json!(true))
    );
    assert_eq!(read(seed.join("new")), "new\n2\n");
}

#[test]
fn a_model_plans_first_and_stays_in_its_directories() {
    let home = Home::new();
    let project = seed(&home);
    let mut mcp = Mcp::begin(&home, &project, []);
    let created =
        mcp.ok("workspace_create", json!({ "environment": ENVIRONMENT, "seed_path": "." }));
    let id = str_of(&created, "workspace_id").to_owned();
    let run = "echo guest > both; echo new > new; echo evil > .envrc";
    mcp.ok("workspace_exec", json!({ "workspace_id": id, "command": run }));
    let plan = mcp.ok("workspace_apply", json!({ "workspace_id": id, "host_path": "." }));
    assert_eq!((&plan["applied"], &plan["summary"]["total"]), (&json!(false), &json!(3)));
    assert!(plan["warnings"].to_string().contains(".envrc"), "{plan}");
    assert!(!project.join("new").exists());
    let outside = home.scratch("outside");
    fs::create_dir(&outside).unwrap();
    for (tool, path) in [("workspace_apply", &outside), ("workspace_apply_undo", &outside)] {
        let error = mcp.refused(tool, json!({ "workspace_id": id, "host_path": path }));
        assert_eq!(str_of(&error, "code"), "path_not_allowed", "{error}");
    }
    let apply = json!({ "workspace_id": id, "host_path": ".", "tree": plan["tree"], "limit": 1 });
    let reply = mcp.ok("workspace_apply", apply);
    assert_eq!((&reply["applied"], &reply["next_offset"]), (&json!(true), &json!(1)));
    assert_eq!(read(project.join("both")), "guest\n");
    let undo = json!({ "workspace_id": id, "host_path": "." });
    assert_eq!(mcp.ok("workspace_apply_undo", undo)["restored_count"], 3);
    assert_eq!(read(project.join("both")), "one\n");
}
