//! Which build of pyro is this?

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Identity of the running executable: version, and inode, length and modification time of its
/// file. A client and a daemon of one build agree on it; after an upgrade they do not.
pub fn build_id() -> String {
    let file = fs::metadata("/proc/self/exe").map(|meta| {
        format!("{}-{}-{}.{}", meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
    });
    format!("{}-{}", env!("CARGO_PKG_VERSION"), file.unwrap_or_default())
}
