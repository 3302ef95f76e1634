//! The guest agent that travels inside this binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pyro_image::{Kernel, write_initramfs};

use crate::error::{Error, Result};

/// The agent: a static executable, built by this crate's build script.
pub const AGENT: &[u8] = include_bytes!(env!("PYRO_AGENT"));

/// The initramfs of this agent with the modules of `kernel`, made when it is not in `cache` yet.
/// Others in there are of other builds or kernels: a guest that booted one no longer needs it.
pub fn initramfs(cache: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(AGENT);
    hasher.update(kernel.version.as_bytes());
    // A kernel may be unpacked again by a version of pyro that takes more of it.
    for module in kernel.modules.iter().chain(kernel.network_modules.iter().flatten()) {
        hasher.update(module.as_os_str().as_encoded_bytes());
    }
    let name = format!("initramfs-{}.cpio", &hasher.finalize().to_hex()[..16]);
    let path = cache.join(&name);
    if path.exists() {
        return Ok(path);
    }
    let mut image = Vec::new();
    write_initramfs(&mut image, AGENT, kernel)?;
    pyro_durable::write(&path, &image).map_err(Error::io("write", &path))?;
    remove_others(cache, "initramfs-", &name)?;
    Ok(path)
}

/// The agent itself, as a file that can be executed, made when it is not in `cache` yet.
pub fn executable(cache: &Path) -> Result<PathBuf> {
    let name = format!("agent-{}", &blake3::hash(AGENT).to_hex()[..16]);
    let path = cache.join(&name);
    // Executable last of all: then it is whole.
    if !path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o100 != 0) {
        pyro_durable::write(&path, AGENT).map_err(Error::io("write", &path))?;
        let executable = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&path, executable).map_err(Error::io("write", &path))?;
        remove_others(cache, "agent-", &name)?;
    }
    Ok(path)
}

fn remove_others(cache: &Path, prefix: &str, name: &str) -> Result<()> {
    for entry in fs::read_dir(cache).map_err(Error::io("read", cache))?.flatten() {
        let other = entry.file_name();
        if other != name && other.as_encoded_bytes().starts_with(prefix.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}
