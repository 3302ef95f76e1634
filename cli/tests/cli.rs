//! The real program, as far as it goes without a daemon.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A run with a home of its own that does not exist yet.
fn pyro(home: &Path, words: &[&str]) -> Output {
    command(home, words).output().unwrap()
}

fn command(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyro"));
    command.args(words).env("PYRO_HOME", home.join("home")).stdin(Stdio::null());
    command
}

fn place() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The error document: it is all there is on standard output, and standard error is empty.
fn error(output: &Output) -> (String, String, Option<String>) {
    assert_eq!(text(&output.stderr), "");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = document["error"].as_object().unwrap();
    let string = |key: &str| error[key].as_str().map(String::from);
    (string("code").unwrap(), string("message").unwrap(), string("hint"))
}

#[test]
fn help_and_version_are_data() {
    let place = place();
    for words in [&["--help"][..], &["-h"], &["help", "workspace"], &["ws", "diff", "--help"]] {
        let output = pyro(place.path(), words);
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}");
        assert!(text(&output.stdout).contains("Usage: pyro"), "{words:?}");
    }
    let output = pyro(place.path(), &["--version"]);
    assert_eq!(text(&output.stdout), concat!("pyro ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn hidden_commands_are_not_in_the_help() {
    let place = place();
    let output = pyro(place.path(), &["--help"]);
    let help = text(&output.stdout);
    assert!(!help.contains("shim") && !help.contains("daemon"), "{help}");
}

#[test]
fn usage_errors_are_prose_on_standard_error() {
    let place = place();
    let output = pyro(place.path(), &["workspace", "exec", "fix"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).starts_with("error: "), "{}", text(&output.stderr));
}

#[test]
fn usage_errors_are_documents_with_json() {
    let place = place();
    for words in [
        &["--json", "nonsense"][..],
        &["env", "pull", "--json"],
        &["run", "debian:12", "--json", "--vcpu-count", "0", "--", "true"],
        &["workspace", "exec", "fix", "--env", "novalue", "--json", "--", "true"],
        &["workspace", "export", "fix", "--json"],
        &["workspace", "diff", "fix", "--json", "--patch"],
        &["workspace", "create", "debian:12", "--json", "--id-only"],
        &["completions", "bash", "--json"],
    ] {
        let output = pyro(place.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let (code, message, _) = error(&output);
        assert_eq!(code, "invalid_argument", "{words:?}");
        assert!(!message.contains(['\n', '\x1b']) && !message.is_empty(), "{message}");
    }
}

#[test]
fn a_usage_error_names_the_way_out() {
    let place = place();
    let (_, message, hint) = error(&pyro(place.path(), &["env", "inspect", "--json"]));
    assert!(message.contains("<ENV>"), "{message}");
    assert_eq!(hint.as_deref(), Some("usage: pyro env inspect --json <ENV>"));
}

#[test]
fn json_behind_the_dashes_belongs_to_the_guest() {
    let place = place();
    let output = pyro(place.path(), &["run", "--nonsense", "debian:12", "--", "ls", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}

#[test]
fn completions_know_the_commands() {
    let place = place();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = pyro(place.path(), &["completions", shell]);
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}");
        let script = text(&output.stdout);
        assert!(script.contains("workspace") && script.contains("name-status"), "{shell}");
    }
}

#[test]
fn a_home_that_is_not_absolute_is_refused() {
    let place = place();
    let output = command(place.path(), &["env", "list", "--json"])
        .env("PYRO_HOME", "relative")
        .current_dir(place.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(error(&output).0, "invalid_argument");
    assert!(!place.path().join("relative").exists());
}

#[test]
fn asking_for_the_daemon_starts_none() {
    let place = place();
    let output = pyro(place.path(), &["daemon", "status", "--json"]);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(error(&output).0, "daemon_unavailable");
    assert!(pyro(place.path(), &["daemon", "stop"]).status.success());
    assert!(!place.path().join("home").exists());
}

#[test]
fn here_without_a_command_teaches_how() {
    let place = place();
    let output = pyro(place.path(), &["here", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let (_, _, hint) = error(&output);
    assert!(hint.unwrap().contains("pyro here -- make test"));
    assert!(!place.path().join("home").exists());
}

#[test]
fn here_refuses_an_export_target_that_exists_before_anything_starts() {
    let place = place();
    let target = place.path().join("there");
    fs::create_dir(&target).unwrap();
    let words = ["here", "--json", "--export", target.to_str().unwrap(), "--", "true"];
    let output = pyro(place.path(), &words);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(error(&output).0, "already_exists");
    assert!(!place.path().join("home").exists());
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let place = place();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(place.path(), &["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(text(&output.stderr), "");
}
