//! Which Firecracker is installed, and whether it can be spoken to.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Result};

use super::super::program::find;

const PROGRAM: &str = "firecracker";
const JAILER: &str = "jailer";
/// Names the program to use, by an absolute path.
const VARIABLE: &str = "PYRO_FIRECRACKER";
/// Versions from that of the API description on that requests are compared with, to the end of its major
/// version.
pub const FIRECRACKER_VERSIONS: &str = "1.17 and later versions before 2.0";
const FIRST: (u32, u32) = (1, 17);

/// What is known of the installed Firecracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirecrackerFacts {
    /// The program.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
    /// Its jailer, of the same version, in which root runs it; none for others.
    pub jailer: Option<PathBuf>,
}

/// Finds Firecracker, where `PYRO_FIRECRACKER` says, else beside this program, else on the search path,
/// and asks for its version. For root its jailer too, beside it or else on the search path.
///
/// # Errors
/// [`Error::FirecrackerMissing`], [`Error::FirecrackerVersion`], also if it is no Firecracker,
/// [`Error::JailerMissing`], [`Error::JailerVersion`], or an I/O error if one does not run.
pub fn firecracker_facts() -> Result<FirecrackerFacts> {
    let named = env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    let own = env::current_exe().ok();
    let path = place(named.as_deref(), own.as_deref(), find(PROGRAM))
        .ok_or(Error::FirecrackerMissing { looked_at: named })?;
    let says = first_words(&path)?;
    let Some(version) = supported(&says) else {
        return Err(Error::FirecrackerVersion { path, says });
    };
    let root = rustix::process::geteuid().is_root();
    let jailer = if root { Some(jailer(&path, &version, find(JAILER))?) } else { None };
    Ok(FirecrackerFacts { path, version, jailer })
}

/// The jailer of a Firecracker of this version.
pub(super) fn jailer(
    firecracker: &Path,
    version: &str,
    on_path: Option<PathBuf>,
) -> Result<PathBuf> {
    // What `firecracker` may be a link to is where its jailer is.
    let real = firecracker.canonicalize().map_err(Error::io("find", firecracker))?;
    let beside = [firecracker, &*real].map(|path| path.with_file_name(JAILER));
    let path = beside.into_iter().find(|path| path.is_file()).or(on_path);
    let path = path.ok_or_else(|| Error::JailerMissing { firecracker: firecracker.to_owned() })?;
    let says = first_words(&path)?;
    if says.strip_prefix("Jailer v") == Some(version) {
        return Ok(path);
    }
    Err(Error::JailerVersion { path, says, wanted: version.to_owned() })
}

/// The first line of what a program says of its version.
fn first_words(path: &Path) -> Result<String> {
    let output = Command::new(path).arg("--version").env_clear().output();
    let output = output.map_err(Error::io("run", path))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The program to use: the one that is named and no other, else the nearest.
fn place(named: Option<&Path>, own: Option<&Path>, on_path: Option<PathBuf>) -> Option<PathBuf> {
    match named {
        // Relative to what? A daemon is at home nowhere.
        Some(named) => (named.is_absolute() && named.is_file()).then(|| named.to_owned()),
        None => {
            let beside = own.map(|own| own.with_file_name(PROGRAM));
            beside.filter(|path| path.is_file()).or(on_path)
        }
    }
}

/// The version in `Firecracker v1.17.0`, if it is one that pyro works with.
pub(super) fn supported(says: &str) -> Option<String> {
    let version = says.strip_prefix("Firecracker v")?;
    let mut numbers = version.split(['.', '-']).map(|number| number.parse::<u32>().ok());
    let found = (numbers.next()??, numbers.next()??);
    (found >= FIRST && found < (2, 0)).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_the_first_to_the_next_major_one_are_spoken_to() {
        for good in ["Firecracker v1.17.0", "Firecracker v1.17.0-dev", "Firecracker v1.20.1"] {
            assert!(supported(good).is_some(), "{good}");
        }
        for bad in
            ["", "Firecracker v1.16.9", "Firecracker v2.0.0", "Firecracker 1.17.0", "v1.17.0"]
        {
            assert_eq!(supported(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_named_one_is_used_or_none_then_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("pyro");
        let (named, beside) = (dir.path().join("named"), dir.path().join(PROGRAM));
        let on_path = || Some(PathBuf::from("/path/firecracker"));
        assert_eq!(place(Some(&named), Some(&own), on_path()), None);
        std::fs::write(&named, "").unwrap();
        assert_eq!(place(Some(&named), Some(&own), on_path()), Some(named));
        assert_eq!(place(Some(Path::new("Cargo.toml")), Some(&own), on_path()), None);
        assert_eq!(place(None, Some(&own), on_path()), on_path());
        std::fs::write(&beside, "").unwrap();
        assert_eq!(place(None, Some(&own), on_path()), Some(beside));
        assert_eq!(place(None, None, None), None);
    }
}
