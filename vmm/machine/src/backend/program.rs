//! The QEMU that is installed.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

const PROGRAM: &str = "qemu-system-x86_64";

/// What is known of the installed QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuFacts {
    /// The program.
    pub path: PathBuf,
    /// The first line of `--version`.
    pub version: String,
}

/// Finds QEMU on the search path and asks for its version, once for each program file: starting
/// QEMU costs some 40 ms, and every boot asks.
///
/// # Errors
/// [`Error::QemuMissing`], or [`Error::QemuBroken`] if it does not run.
pub fn qemu_facts() -> Result<QemuFacts> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().facts(find_qemu()?)
}

/// Whether QEMU was built with user-mode networking.
///
/// # Errors
/// As [`qemu_facts`].
pub fn has_user_networking() -> Result<bool> {
    let path = find_qemu()?;
    let broken = |source| Error::QemuBroken { path: path.clone(), source };
    let output =
        Command::new(&path).args(["-M", "none", "-netdev", "help"]).output().map_err(broken)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().any(|line| line.trim() == "user"))
}

/// QEMU's path.
pub(super) fn find_qemu() -> Result<PathBuf> {
    find(PROGRAM).ok_or(Error::QemuMissing)
}

/// A program on the search path.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let path =
        env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    env::split_paths(&path).map(|dir| dir.join(name)).find(runs)
}

/// Versions of programs that have run.
#[derive(Default)]
struct Known(HashMap<PathBuf, (FileState, String)>);

/// Changes when another file takes the program's place: device, inode, size and times.
type FileState = [i64; 7];

impl Known {
    fn facts(&mut self, path: PathBuf) -> Result<QemuFacts> {
        // Looked at before it runs: a program that is replaced meanwhile is asked again.
        let state =
            state(&path).map_err(|source| Error::QemuBroken { path: path.clone(), source })?;
        if let Some((known, version)) = self.0.get(&path)
            && *known == state
        {
            return Ok(QemuFacts { path, version: version.clone() });
        }
        let version = version(&path)?;
        self.0.insert(path.clone(), (state, version.clone()));
        Ok(QemuFacts { path, version })
    }
}

fn state(path: &Path) -> io::Result<FileState> {
    let meta = path.metadata()?;
    Ok([
        meta.dev() as i64,
        meta.ino() as i64,
        meta.size() as i64,
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ])
}

fn version(path: &Path) -> Result<String> {
    let broken = |source| Error::QemuBroken { path: path.to_owned(), source };
    let output = Command::new(path).arg("--version").output().map_err(broken)?;
    if !output.status.success() {
        return Err(broken(io::Error::other(output.status.to_string())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn program(path: &Path, script: &str) {
        let new = path.with_extension("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[test]
    fn a_program_is_asked_once_until_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, runs) = (dir.path().join(PROGRAM), dir.path().join("runs"));
        let script = |version: &str| format!("echo x >> '{}'; echo {version}", runs.display());
        let count = || fs::read(&runs).unwrap().len() / 2;
        let mut known = Known::default();

        program(&path, &script("version 7"));
        for _ in 0..3 {
            assert_eq!(known.facts(path.clone()).unwrap().version, "version 7");
        }
        assert_eq!(count(), 1);

        program(&path, &script("version 8"));
        assert_eq!(known.facts(path.clone()).unwrap().version, "version 8");
        assert_eq!(count(), 2);
    }

    #[test]
    fn a_program_that_fails_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PROGRAM);
        let mut known = Known::default();
        program(&path, "exit 1");
        assert!(matches!(known.facts(path.clone()), Err(Error::QemuBroken { .. })));
        program(&path, "echo fine");
        assert_eq!(known.facts(path.clone()).unwrap().version, "fine");
        fs::remove_file(&path).unwrap();
        assert!(matches!(known.facts(path), Err(Error::QemuBroken { .. })));
    }
}
