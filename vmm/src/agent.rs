//! The guest agent that travels inside this binary.

use std::fs;
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
    for entry in fs::read_dir(cache).map_err(Error::io("read", cache))?.flatten() {
        let other = entry.file_name();
        if other != name.as_str() && other.as_encoded_bytes().starts_with(b"initramfs-") {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(path)
}
