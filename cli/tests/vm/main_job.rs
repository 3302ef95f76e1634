//! create → exec → sync push → diff → export → delete.

use std::fs;

use crate::support::Home;

#[test]
fn the_main_job_from_create_to_delete() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("src")).unwrap();
    fs::write(seed.join("src/app.txt"), "one\n").unwrap();
    fs::write(seed.join("gone.txt"), "bye\n").unwrap();
    let id = home.workspace(&seed);

    assert_eq!(home.sh(&id, "cat src/app.txt; echo two >> src/app.txt; rm gone.txt"), "one\n");
    let pushed = home.scratch("pushed.txt");
    fs::write(&pushed, "pushed\n").unwrap();
    home.json(["workspace", "sync", "push", &id, pushed.to_str().unwrap(), "--dest", "in/"]);

    let diff = home.json(["workspace", "diff", &id]);
    let found: Vec<_> = diff["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["path"].as_str().unwrap(), entry["status"].as_str().unwrap()))
        .collect();
    let wanted = [
        ("gone.txt", "deleted"),
        ("in", "added"),
        ("in/pushed.txt", "added"),
        ("src/app.txt", "modified"),
    ];
    assert_eq!(found, wanted);

    let output = home.scratch("out");
    let exported =
        home.json(["workspace", "export", &id, ".", "--output", output.to_str().unwrap()]);
    assert_eq!(exported["tree"], diff["tree"]);
    assert_eq!(fs::read_to_string(output.join("src/app.txt")).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(output.join("in/pushed.txt")).unwrap(), "pushed\n");
    assert!(!output.join("gone.txt").exists());

    let logs = home.json(["workspace", "logs", &id]);
    assert_eq!(logs["entries"].as_array().unwrap().len(), 1, "only what was exec'ed is logged");
    home.ok(["workspace", "delete", &id]);
    home.ok(["daemon", "stop"]);
    assert_eq!(home.processes(), Vec::<String>::new());
}

#[test]
fn the_same_change_made_at_another_time_is_exported_too() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("file"), "one\n").unwrap();
    let mut trees = Vec::new();
    for (turn, date) in ["2001-02-03", "2004-05-06"].into_iter().enumerate() {
        let id = home.workspace(&seed);
        home.sh(&id, &format!("echo two >> file; touch -d {date} file"));
        trees.push(home.json(["workspace", "diff", &id])["tree"].clone());
        let output = home.scratch(&format!("out{turn}"));
        home.ok(["workspace", "export", &id, ".", "--output", output.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(output.join("file")).unwrap(), "one\ntwo\n");
    }
    assert_eq!(trees[0], trees[1]);
}
