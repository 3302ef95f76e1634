//! Installed kernels: `kernels/<version>/`, shared by the environments.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Kernel;
use super::bzimage::extract_vmlinux;
use super::modules::{GuestModules, Module, ModuleTree};
use crate::{Error, Progress, Result, Silent, durable};

const RECORD: &str = "kernel.json";

/// `kernel.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema: u32,
    version: String,
    release: String,
    vmlinux: FileRecord,
    /// In load order.
    modules: Vec<FileRecord>,
    /// In load order, after `modules`; absent in records of the first versions of pyro.
    network_modules: Option<Vec<FileRecord>>,
}

/// A file of the kernel, by its path below the kernel's directory.
#[derive(Debug, Serialize, Deserialize)]
struct FileRecord {
    path: String,
    size: u64,
    blake3: String,
}

/// Unpacks a kernel package (`package` is where its files are: `boot/`, `lib/`) into the new directory
/// `dir`, in the form a machine boots. The caller moves it into place.
pub(crate) fn unpack(package: &Path, version: &str, dir: &Path) -> Result<()> {
    let boot = package.join("boot");
    let image = fs::read_dir(&boot)
        .map_err(Error::io("read", &boot))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()));
    let release = image.ok_or_else(|| Error::Kernel("the package has no vmlinuz".into()))?;
    let path = boot.join(format!("vmlinuz-{release}"));
    let image = fs::read(&path).map_err(Error::io("read", &path))?;
    let modules = ModuleTree::scan(&package.join("lib/modules").join(&release))?.for_guests()?;

    install(dir, version, release, &extract_vmlinux(&image)?, modules)
}

/// Puts a kernel that needs no modules into the new directory `dir`. The caller moves it into place.
pub(crate) fn install_built_in(
    dir: &Path,
    version: &str,
    release: String,
    vmlinux: &[u8],
) -> Result<()> {
    install(dir, version, release, vmlinux, GuestModules { always: vec![], network: vec![] })
}

fn install(
    dir: &Path,
    version: &str,
    release: String,
    vmlinux: &[u8],
    modules: GuestModules,
) -> Result<()> {
    let sub = dir.join("modules");
    fs::create_dir_all(&sub).map_err(Error::io("create", &sub))?;
    let vmlinux = write(dir, "vmlinux".into(), vmlinux)?;
    let place = |modules: Vec<Module>| {
        let modules = modules.into_iter();
        modules
            .map(|module| write(dir, format!("modules/{}.ko", module.name), &module.bytes))
            .collect::<Result<_>>()
    };
    let record = Record {
        schema: 1,
        version: version.to_owned(),
        release,
        vmlinux,
        modules: place(modules.always)?,
        network_modules: Some(place(modules.network)?),
    };
    let json = serde_json::to_vec_pretty(&record).map_err(Error::io("write", &dir.join(RECORD)))?;
    durable::write_new(&dir.join(RECORD), &json)?;
    durable::sync_dir(&sub)?;
    durable::sync_dir(dir)
}

fn write(dir: &Path, path: String, bytes: &[u8]) -> Result<FileRecord> {
    durable::write_new(&dir.join(&path), bytes)?;
    let blake3 = blake3::hash(bytes).to_hex().to_string();
    Ok(FileRecord { path, size: bytes.len() as u64, blake3 })
}

/// The kernel in `dir`; the error is what is wrong with it, without context. Every file must be there
/// with its size; `verify` also reads and hashes all of them.
pub(crate) fn load(dir: &Path, verify: Option<&dyn Progress>) -> Result<Kernel, String> {
    let bytes = fs::read(dir.join(RECORD))
        .map_err(|error| format!("its kernel record cannot be read ({error})"))?;
    let record: Record = serde_json::from_slice(&bytes)
        .map_err(|error| format!("its kernel record is damaged ({error})"))?;
    let files = record
        .modules
        .iter()
        .chain(record.network_modules.iter().flatten())
        .chain([&record.vmlinux]);
    for file in files {
        let path = dir.join(&file.path);
        let size = fs::metadata(&path).map_err(|error| format!("{}: {error}", file.path))?.len();
        if size != file.size {
            return Err(format!("{} has {size} bytes instead of {}", file.path, file.size));
        }
        if let Some(progress) = verify {
            let (hash, _) = durable::hash(&path, progress).map_err(|error| error.to_string())?;
            if *hash.to_hex() != *file.blake3 {
                return Err(format!("the content of {} has changed", file.path));
            }
        }
    }
    let paths = |files: &[FileRecord]| files.iter().map(|file| dir.join(&file.path)).collect();
    Ok(Kernel {
        vmlinux: dir.join(&record.vmlinux.path),
        modules: paths(&record.modules),
        network_modules: record.network_modules.as_deref().map(paths),
        version: record.version,
        release: record.release,
    })
}

/// Whether the kernel in `dir` is whole and has all that this version of pyro looks for in one.
pub(crate) fn is_complete(dir: &Path) -> bool {
    load(dir, Some(&Silent)).is_ok_and(|kernel| kernel.network_modules.is_some())
}

/// Whether `version` can name a directory. Debian versions have these characters only.
pub(crate) fn is_version(version: &str) -> bool {
    version.starts_with(|first: char| first.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c))
}
