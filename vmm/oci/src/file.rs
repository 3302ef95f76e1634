//! Images in files: what `docker save` and `skopeo copy ... docker-archive:` write, and OCI layouts as a
//! tar file or a directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Component, Path, PathBuf};

use oci_client::manifest::{OciImageIndex, OciImageManifest};
use pyro_store::{IngestReport, Progress, Store};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::PLATFORM;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};
use crate::image::Image;

/// Largest manifest, index or configuration, in bytes.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Most members of an image file; each layer is a few.
const MAX_MEMBERS: usize = 100_000;

/// An image file, whose parts are found by name.
pub struct ImageFile {
    path: PathBuf,
    /// Where each member of a tar file is, and how long; none for a directory.
    members: Option<HashMap<String, (u64, u64)>>,
    /// Layers of a `docker save`, which are named by path, by the digest of their bytes.
    layers: HashMap<Digest, String>,
}

/// An entry of the `manifest.json` of a `docker save`.
#[derive(Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

impl ImageFile {
    /// Looks at what is in the file or directory at `path`.
    ///
    /// # Errors
    /// [`Error::File`] if it is no image, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let meta = path.metadata().map_err(Error::io("read", path))?;
        let mut file = Self { path: path.to_owned(), members: None, layers: HashMap::new() };
        if !meta.is_dir() {
            file.members = Some(file.index()?);
        }
        Ok(file)
    }

    /// What the image says of itself.
    ///
    /// # Errors
    /// If the file holds no image, or several, or one for other machines.
    pub fn image(&mut self) -> Result<Image> {
        if self.contains("index.json") {
            return self.oci_image();
        }
        if !self.contains("manifest.json") {
            return Err(self.refuse("it has neither 'index.json' nor 'manifest.json'"));
        }
        let mut saved: Vec<Saved> = self.document("manifest.json")?;
        let (Some(saved), true) = (saved.pop(), saved.is_empty()) else {
            return Err(self.refuse("it does not hold exactly one image: save one alone"));
        };
        let mut layers = Vec::new();
        for name in saved.layers {
            let (mut layer, seal) = Hashing::new(self.member(&name)?);
            io::copy(&mut layer, &mut io::sink()).map_err(Error::io("read", &self.path))?;
            layers.push(seal.digest());
            self.layers.insert(seal.digest(), name);
        }
        Image::of_docker_archive(&self.bytes(&saved.config)?, layers)
    }

    /// Unpacks its image into the store.
    ///
    /// # Errors
    /// If a layer is missing, damaged or hostile.
    pub fn unpack(
        &self,
        image: &Image,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<IngestReport> {
        let open = |digest: Digest| -> Result<Box<dyn Read>> {
            let name = self.layers.get(&digest).cloned().unwrap_or_else(|| blob(digest));
            Ok(Box::new(self.member(&name)?))
        };
        image.unpack(store, &self.path, &|layer| open(layer.digest), progress)
    }

    fn oci_image(&self) -> Result<Image> {
        let mut index: OciImageIndex = self.document("index.json")?;
        // An index may name another one, that of an image for several platforms.
        for _ in 0..4 {
            let fits = |entry: &&oci_client::manifest::ImageIndexEntry| {
                let platform = entry.platform.as_ref();
                platform.is_none_or(|it| format!("{}/{}", it.os, it.architecture) == PLATFORM)
            };
            let fitting: Vec<_> = index.manifests.iter().filter(fits).collect();
            let entry = match &fitting[..] {
                [entry] => *entry,
                [] => {
                    let platforms = index.manifests.iter().filter_map(|it| it.platform.as_ref());
                    let found: Vec<_> =
                        platforms.map(|it| format!("{}/{}", it.os, it.architecture)).collect();
                    return Err(Error::Platform { found: found.join(", ") });
                }
                _ => return Err(self.refuse("it holds several images: save one alone")),
            };
            let digest: Digest = entry.digest.parse()?;
            let bytes = self.bytes(&blob(digest))?;
            Digest::of(&bytes).expect(digest, "the image's manifest")?;
            if let Ok(manifest) = serde_json::from_slice::<OciImageManifest>(&bytes) {
                let config: Digest = manifest.config.digest.parse()?;
                return Image::new(&manifest, digest, &self.bytes(&blob(config))?);
            }
            index = self.parse("the image's index", &bytes)?;
        }
        Err(self.refuse("its indexes name each other"))
    }

    fn document<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.parse(name, &self.bytes(name)?)
    }

    fn parse<T: DeserializeOwned>(&self, what: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|error| self.refuse(&format!("{what}: {error}")))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.member(name)?.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(Error::io("read", &self.path))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(self.refuse(&format!("'{}' is too large", name.escape_debug())));
        }
        Ok(bytes)
    }

    fn contains(&self, name: &str) -> bool {
        match &self.members {
            Some(members) => members.contains_key(name),
            None => self.path.join(name).is_file(),
        }
    }

    /// The part of the image with this name.
    fn member(&self, name: &str) -> Result<Take<BufReader<File>>> {
        let missing = || self.refuse(&format!("it lacks '{}'", name.escape_debug()));
        let (path, at) = match &self.members {
            Some(members) => (self.path.clone(), *members.get(name).ok_or_else(missing)?),
            // Names come from the image: none may lead out of it.
            None if is_plain(name) => (self.path.join(name), (0, u64::MAX)),
            None => return Err(missing()),
        };
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => Error::io("read", &path)(error),
        })?;
        file.seek(SeekFrom::Start(at.0)).map_err(Error::io("read", &path))?;
        Ok(BufReader::with_capacity(256 * 1024, file).take(at.1))
    }

    /// Where the members of the tar file are. Links are followed: old versions of docker write
    /// `../ID/layer.tar` for layers that are equal.
    fn index(&self) -> Result<HashMap<String, (u64, u64)>> {
        let file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let mut archive = tar::Archive::new(BufReader::new(file));
        let broken = |error: io::Error| {
            let error = pyro_format::escape(error.to_string().as_bytes());
            self.refuse(&format!("as a tar file it is broken: {error}"))
        };
        let mut members = HashMap::new();
        for entry in archive.entries_with_seek().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let text =
                |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_start_matches("./").to_owned();
            let name = text(&entry.path_bytes());
            if let Some(target) = entry.link_name_bytes() {
                let known = members.get(text(&target).trim_start_matches("../")).copied();
                members.extend(known.map(|at| (name, at)));
            } else if entry.header().entry_type().is_file() {
                members.insert(name, (entry.raw_file_position(), entry.size()));
            }
            if members.len() > MAX_MEMBERS {
                return Err(self.refuse("it has too many members"));
            }
        }
        Ok(members)
    }

    fn refuse(&self, reason: &str) -> Error {
        Error::File { path: self.path.clone(), reason: reason.to_owned() }
    }
}

/// Where an OCI layout has a blob (`image-layout.md`).
fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn is_plain(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}
