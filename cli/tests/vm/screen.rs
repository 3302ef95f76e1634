//! A diff on a terminal: coloured, paged, and nothing in it that the terminal would obey.

use std::fs::{self, File};
use std::io::Read;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::support::Home;

/// What a terminal got, and the exit code.
fn shown(home: &Home, args: &[&str], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let end = File::from(ioctl_tiocgptpeer(&master, flags).unwrap());
    let mut command = home.command(args);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PAGER", "PYRO_PAGER"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm").envs(variables.iter().copied());
    let mut child = command.stdout(Stdio::from(end)).stderr(Stdio::null()).spawn().unwrap();
    // Its copy of the terminal's end; the reading ends with the last one.
    drop(command);
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let mut master = File::from(master);
    while let Ok(read @ 1..) = master.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
    }
    let code = child.wait().unwrap().code();
    (String::from_utf8(bytes).unwrap(), code)
}

#[test]
fn a_terminal_sees_colours_in_a_pager_and_obeys_no_file() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("gone"), "old\n").unwrap();
    let id = home.workspace(&seed);
    home.sh(&id, r#"rm gone; name=$(printf 'na\033[31mme'); printf 'evil\033[2J\351\n' > "$name""#);
    let patch = ["workspace", "diff", &id, "--patch"];
    let evil = r"+evil\u{1b}[2J\xe9";

    let paged = [("PYRO_PAGER", "sed s/^/paged:/")];
    let (text, code) = shown(&home, &patch, &paged);
    assert_eq!(code, Some(0));
    assert!(text.lines().all(|line| line.starts_with("paged:")), "{text:?}");
    assert!(text.contains(&format!("\x1b[32m{evil}\x1b[0m")), "{text:?}");
    assert!(text.contains("\x1b[31m-old\x1b[0m"), "{text:?}");
    assert!(!text.contains("\x1b[2J"), "{text:?}");

    let plain = ["workspace", "diff", &id, "--patch", "--no-pager"];
    let (text, _) = shown(&home, &plain, &[("NO_COLOR", "1"), paged[0]]);
    assert!(text.contains(evil) && !text.contains("paged:") && !text.contains('\x1b'), "{text:?}");

    let (text, _) = shown(&home, &["workspace", "diff", &id], &[("PAGER", "cat")]);
    assert!(text.starts_with("\x1b[31mD\x1b[0m  gone"), "{text:?}");
    assert!(text.contains("\x1b[32mA\x1b[0m  na\\u{1b}[31mme"), "{text:?}");

    let raw = home.output(patch).stdout;
    assert!(raw.ends_with(b"+evil\x1b[2J\xe9\n"), "a pipe gets the bytes as they are");

    home.sh(&id, "seq 1000000 > long");
    let (text, code) = shown(&home, &patch, &[("PYRO_PAGER", "head -n 1")]);
    assert_eq!((text.lines().count(), code), (1, Some(0)), "a reader may stop: {text:?}");
}
