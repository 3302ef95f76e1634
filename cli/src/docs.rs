//! `docs/cli.md`, made from the same tree as the parser and its help.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use pyro_api::ErrorCode;

use crate::args::Cli;

const HEAD: &str = "\
# Command line

Every command with its help, as `pyro COMMAND --help` prints it. Made from the program by
`PYRO_UPDATE_DOCS=1 cargo test -p pyro-cli docs`; a test keeps it in step. Exit codes, error codes
and JSON are in [public-contract.md](public-contract.md).
";

/// What `pyro WORDS --help` prints on a wide terminal.
fn help(words: &[&str]) -> String {
    let argv = ["pyro"].into_iter().chain(words.iter().copied()).chain(["--help"]);
    let shown = Cli::command().term_width(100).try_get_matches_from(argv).unwrap_err();
    let text = shown.render().to_string();
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn section(page: &mut String, command: &Command, words: &[&str]) {
    let name = ["pyro"].into_iter().chain(words.iter().copied()).collect::<Vec<_>>().join(" ");
    let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", help(words));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        section(page, sub, &[words, &[sub.get_name()]].concat());
    }
}

#[test]
fn the_parser_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_command_line_page_is_in_step() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let mut page = HEAD.to_owned();
    section(&mut page, &Cli::command(), &[]);
    if std::env::var_os("PYRO_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/cli.md is old: PYRO_UPDATE_DOCS=1 cargo test -p pyro-cli docs");
}

#[test]
fn the_contract_lists_every_error_code_with_its_exit_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/public-contract.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut known = 0;
    for line in text.lines() {
        let Some((code, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once("` | "))
        else {
            continue;
        };
        let Ok(code) = serde_json::from_value::<ErrorCode>(code.into()) else { continue };
        let exit = rest.split(' ').next().unwrap();
        assert_eq!(exit, code.exit_code().to_string(), "{code:?}");
        known += 1;
    }
    // serde names every variant when it refuses one.
    let refused = serde_json::from_str::<ErrorCode>("\"?\"").unwrap_err().to_string();
    let (_, variants) = refused.split_once("expected one of ").unwrap();
    assert_eq!(known, variants.matches(", ").count() + 1, "{variants}");
}

/// Help is wrapped at 100 columns; a longer line of its text would leave a word alone on the next.
#[test]
fn text_of_help_fits() {
    fn look(command: &Command) {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
        }
        command.get_subcommands().for_each(look);
    }
    look(&Cli::command());
}

#[test]
fn help_of_exec_teaches_by_examples() {
    insta::assert_snapshot!(help(&["workspace", "exec"]), @r#"
    Run a command in /workspace and log it

    Usage: pyro workspace exec [OPTIONS] <WORKSPACE_ID> -- <CMD>...
           pyro workspace exec <COMMAND>

    Commands:
      read  Print what a command has printed so far, running or ended
      wait  Wait until a command has ended, then print what it printed
      kill  Kill a command and everything it started
      help  Print this message or the help of the given subcommand(s)

    Arguments:
      <WORKSPACE_ID>  Workspace id or name
      <CMD>...        Program and arguments

    Options:
          --detach               Start the command and leave it running; prints its number
          --timeout-seconds <S>  Kill the command after so many seconds
          --cwd <DIR>            Working directory, absolute or below /workspace [default: /workspace]
          --user <USER>          Who runs it: NAME or UID, perhaps :GROUP [default: the workspace's]
          --env <NAME=VALUE>     Set an environment variable; may be repeated
          --json                 Print one JSON document on standard output instead of text
      -h, --help                 Print help

    Examples:
      pyro workspace exec fix -- make test
      pyro workspace exec fix --cwd src --env RUST_LOG=debug -- cargo run
      pyro workspace exec fix -- sh -c 'echo $HOME > where.txt'
      pyro workspace exec fix --detach -- make all      then: pyro workspace exec wait fix 4

    The command's output and exit code pass through; 124 is a timeout, 125 a failure of pyro itself.
    Ctrl-C kills the command and everything it started. It is logged: see 'pyro workspace logs'.
    "#);
}

#[test]
fn help_of_diff_teaches_by_examples() {
    insta::assert_snapshot!(help(&["workspace", "diff"]), @r"
    Show what differs between /workspace and its baseline

    Usage: pyro workspace diff [OPTIONS] <WORKSPACE_ID> [PATH]...

    Arguments:
      <WORKSPACE_ID>  Workspace id or name
      [PATH]...       Show only what is at these paths, absolute or below /workspace

    Options:
          --full                Have the guest look at every file, not only at its changed layer
          --from <SNAPSHOT|ID>  Compare with this snapshot, or tree that a diff showed [default:
                                baseline]
          --to <SNAPSHOT|ID>    Show this snapshot, or tree that a diff showed, instead of what is there
                                now
          --no-freeze           Let the workspace's commands go on meanwhile: what is read may be of
                                several moments
          --no-pin              Leave content in the guest: faster where much is new, but --tree works
                                only as long as the files stay as they are
          --exclude <PATTERN>   Do not show what this pattern (as in a .gitignore) names; may be
                                repeated
          --gitignore           Do not show what was added and the tree's .gitignore files name
      -U, --unified <N>         Lines of context in the patch [default: 3]
          --binary              Have the patch carry binary files, too, for `git apply`; alone, this
                                means --patch
          --no-pager            Do not page what is printed on a terminal
          --patch               Print the text patch, byte for byte, and nothing else
          --stat                Print how many lines each file gained and lost
          --name-status         Print git's letter and the path of each entry, tabs between, and nothing
                                else; moves (R100) and copies (C100) have both paths
          --html <FILE>         Write a page to review in a browser: one file, complete by itself,
                                without scripts; replaces FILE
          --json                Print one JSON document on standard output instead of text
      -h, --help                Print help

    Examples:
      pyro workspace diff fix
      pyro workspace diff fix --patch | git apply
      pyro workspace diff fix --json | jq -r '.entries[].path'
      pyro workspace diff fix --from before-refactoring
      pyro workspace diff fix --html review.html

    Letters: A added, M modified, D deleted, T another type, R moved, C copied. On a terminal there are
    colours, unless NO_COLOR is set, and a pager: PYRO_PAGER, PAGER or less. The tree id that is
    printed names exactly what was shown: apply, export, snapshot create and fork take it as --tree,
    whatever the guest did since. Commands stand still for the moment that is shown.
    ");
}
