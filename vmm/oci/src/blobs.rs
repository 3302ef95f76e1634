//! Blobs that were fetched, until they are unpacked: whole ones under their digest, and beginnings of
//! those whose fetching was interrupted. Anything here may be removed at any time.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};

/// A directory of blobs. One process writes to it at a time.
#[derive(Debug, Clone)]
pub struct BlobCache {
    dir: PathBuf,
}

impl BlobCache {
    /// The cache in `dir`, which is made when something comes into it.
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Whether the whole blob is there.
    pub(crate) fn has(&self, digest: Digest) -> bool {
        self.whole(digest).is_file()
    }

    /// Reads a whole blob. Its digest was right when it came; whoever unpacks it looks again.
    pub(crate) fn read(&self, digest: Digest) -> Result<Box<dyn Read>> {
        let path = self.whole(digest);
        let file = File::open(&path).map_err(Error::io("read", &path))?;
        Ok(Box::new(BufReader::with_capacity(256 * 1024, file)))
    }

    /// Goes on with a blob where it was interrupted.
    pub(crate) fn resume(&self, digest: Digest) -> Result<Partial> {
        fs::create_dir_all(&self.dir).map_err(Error::io("create", &self.dir))?;
        let path = self.dir.join(format!("{}.part", digest.hex()));
        let file = File::options().append(true).create(true).open(&path);
        let file = file.map_err(Error::io("create", &path))?;
        let len = file.metadata().map_err(Error::io("read", &path))?.len();
        Ok(Partial { whole: self.whole(digest), path, file, len, digest })
    }

    /// Removes a blob that is no longer needed, in whatever state it is.
    pub(crate) fn remove(&self, digest: Digest) {
        // What stays is only space, until the next pull of it.
        let _ = fs::remove_file(self.whole(digest));
    }

    fn whole(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }
}

/// A blob whose end is missing.
pub(crate) struct Partial {
    whole: PathBuf,
    path: PathBuf,
    file: File,
    /// Bytes that are there.
    pub(crate) len: u64,
    digest: Digest,
}

impl Partial {
    /// Forgets what is there.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.len = 0;
        self.file.set_len(0).map_err(Error::io("write", &self.path))
    }

    /// Removes what is there: it is not what was promised.
    pub(crate) fn discard(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Adds what comes next.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// The blob is complete, if its digest is right; what is wrong is thrown away.
    pub(crate) fn finish(self) -> Result<()> {
        let file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let (mut hashed, seal) = Hashing::new(file);
        io::copy(&mut hashed, &mut io::sink()).map_err(Error::io("read", &self.path))?;
        if let Err(error) = seal.digest().expect(self.digest, "what the registry sent") {
            self.discard();
            return Err(error);
        }
        self.file.sync_all().map_err(Error::io("write", &self.path))?;
        fs::rename(&self.path, &self.whole).map_err(Error::io("create", &self.whole))
    }
}
