//! What the documentation says: every command in it is one that this program has, and every block
//! of commands runs.
//!
//! A fenced block is `sh` or `python` (run, in order, in a copy of the sample project; one session
//! for each page), `json` (it parses), `console` (written by a script that really ran it) or `text`.
//! `<!-- not run: WHY -->` above a block keeps it from being run; its `pyro` commands must exist all
//! the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Home, told};

/// Pages with commands of ours, from the repository's root.
fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages = vec![root.join("README.md")];
    for dir in ["docs", "docs/roadmap", "examples"] {
        let entries = fs::read_dir(root.join(dir)).into_iter().flatten().flatten();
        pages.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    pages.sort();
    pages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository").into()
}

/// A fenced block.
#[derive(Debug, PartialEq)]
struct Block {
    line: usize,
    kind: String,
    run: bool,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut run = true;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(kind)) => {
                let kind = kind.trim().to_owned();
                open = Some(Block { line: number + 1, kind, run, text: String::new() });
            }
            (Some(_), Some("")) => {
                blocks.extend(open.take());
                run = true;
            }
            (Some(block), _) => {
                block.text += line;
                block.text.push('\n');
            }
            (None, None) if line.starts_with("<!-- not run: ") => run = false,
            (None, None) if line.trim().is_empty() => {}
            (None, None) => run = true,
        }
    }
    assert_eq!(open, None, "a block that is not closed");
    blocks
}

/// Lines of a page that begin with `pyro `: in blocks of commands and of help, and in code between
/// single backticks.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in blocks(page) {
        let text = block.text.replace("\\\n", "");
        let lines = text.lines().map(|line| line.trim().trim_start_matches("$ "));
        let lines = lines.filter(|line| line.starts_with("pyro "));
        match block.kind.as_str() {
            "sh" | "console" => found.extend(lines.map(str::to_owned)),
            // Help has a remark behind an example, in a column of its own.
            "text" => {
                found.extend(lines.map(|line| line.split("  ").next().unwrap_or(line).to_owned()))
            }
            _ => {}
        }
    }
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let code = line.split('`').skip(1).step_by(2);
            found.extend(code.filter(|code| code.starts_with("pyro ")).map(str::to_owned));
        }
    }
    found
}

/// The command without its output's target, which is of no interest and may lie anywhere. What
/// stands behind `--` is the guest's.
fn without_target(command: &str) -> String {
    match command.split_once(" > ") {
        Some((command, _)) if !command.contains(" -- ") => format!("{command} > /dev/null"),
        _ => command.to_owned(),
    }
}

/// Where `pyro` is a script: asks the real one for help in place of running, and notes what it said.
fn asking_for_help(dir: &Path) -> PathBuf {
    let bin = dir.join("bin");
    fs::create_dir(&bin).expect("a new directory");
    let script = format!(
        "#!/bin/bash\nwords=()\nfor word; do [[ $word == -- ]] && break; words+=(\"$word\"); done\n\
         if said=$({} \"${{words[@]}}\" --help 2>&1 >/dev/null); then echo ok; else echo \"$said\"; fi >>\"$NOTES\"\n",
        env!("CARGO_BIN_EXE_pyro")
    );
    let path = bin.join("pyro");
    fs::write(&path, script).expect("a new file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    bin
}

#[test]
fn every_documented_command_exists_with_its_flags() {
    let place = tempfile::tempdir().unwrap();
    let bin = asking_for_help(place.path());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut asked = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            // `...` and `[--flag]` belong to prose, and so does a page's own name for a value.
            if command.contains("...") || command.contains('[') || command.contains("COMMAND") {
                continue;
            }
            let notes = place.path().join("notes");
            let _ = fs::remove_file(&notes);
            let shell = Command::new("bash")
                .args(["-c", &without_target(&command)])
                .current_dir(place.path())
                .env("PATH", &path)
                .env("HOME", place.path())
                .env("NOTES", &notes)
                .output()
                .unwrap();
            let said = fs::read_to_string(&notes).unwrap_or_else(|_| told(&shell));
            asked += 1;
            if said.lines().any(|line| line != "ok") {
                wrong.push(format!("{}: {command}\n{said}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 50, "the pages were not read: {asked} commands");
}

#[test]
fn every_block_says_what_it_is() {
    for page in pages() {
        for block in blocks(&fs::read_to_string(&page).unwrap()) {
            let at = format!("{}:{}", page.display(), block.line);
            match block.kind.as_str() {
                "json" => {
                    let parsed = serde_json::from_str::<serde_json::Value>(&block.text);
                    assert!(parsed.is_ok(), "{at}: {parsed:?}");
                }
                "" => {
                    let command = |line: &str| {
                        line.starts_with("pyro workspace ") || line.starts_with("make ")
                    };
                    assert!(
                        !block.text.lines().any(command),
                        "{at}: commands in a block of no kind"
                    );
                }
                "sh" | "python" | "console" | "text" | "toml" | "rust" => {}
                other => panic!("{at}: a block of unknown kind '{other}'"),
            }
        }
    }
}

/// Runs the blocks of a page, in order.
fn run(page: &str) {
    let home = Home::new();
    let project = home.scratch("project");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(root().join("fixtures/sample-project"))
        .arg(&project)
        .status();
    assert!(copied.unwrap().success());
    let bin = home.scratch("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pyro"), bin.join("pyro")).unwrap();

    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut script = String::from("set -euo pipefail\n");
    for (number, block) in blocks(&text).into_iter().filter(|block| block.run).enumerate() {
        match block.kind.as_str() {
            "sh" => script += &format!("echo '--- {page}:{}' >&2\n{}", block.line, block.text),
            "python" => {
                let file = home.scratch(&format!("block-{number}.py"));
                fs::write(&file, block.text).unwrap();
                script +=
                    &format!("echo '--- {page}:{}' >&2\npython3 {}\n", block.line, file.display());
            }
            _ => {}
        }
    }
    let ran = Command::new("timeout")
        .args(["500", "bash", "-c", &script])
        .current_dir(&project)
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
        .env("PYTHONPATH", root().join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYRO_HOME", home.path())
        .env("HOME", home.scratch(""))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", told(&ran));
}

#[test]
fn the_readme_runs() {
    run("README.md");
}

#[test]
fn the_installation_page_runs() {
    run("docs/install.md");
}

#[test]
fn the_integrations_page_runs() {
    run("docs/integrations.md");
}

#[test]
fn the_troubleshooting_page_runs() {
    run("docs/troubleshooting.md");
}

#[test]
fn the_milestone_page_runs() {
    run("docs/roadmap/2.6.0.md");
}

/// Blocks of other pages are not sessions: none may say that it is run.
#[test]
fn pages_that_are_not_run_have_no_blocks_to_run() {
    let run = [
        "README.md",
        "docs/install.md",
        "docs/integrations.md",
        "docs/troubleshooting.md",
        "docs/roadmap/2.6.0.md",
    ];
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        // Examples are run by the tests of the Python SDK, which also hold its page to its signatures.
        let elsewhere = name.starts_with("examples/") || name == "docs/python.md";
        if elsewhere || run.contains(&name.as_str()) {
            continue;
        }
        let blocks = blocks(&fs::read_to_string(&page).unwrap());
        let runnable = |block: &Block| block.run && ["sh", "python"].contains(&block.kind.as_str());
        assert!(!blocks.iter().any(runnable), "{name} has blocks that no test runs");
    }
}
