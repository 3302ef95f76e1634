//! What an image says of itself, and how its layers become a tree.

use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use oci_client::manifest::OciImageManifest;
use pyro_store::{ArchiveLimits, IngestReport, Progress, Store};
use serde::{Deserialize, Serialize};

use crate::PLATFORM;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};

/// Most entries in all layers of an image together.
const MAX_MEMBERS: u64 = 4_000_000;
/// Most bytes in all files of an image together: 32 GiB.
const MAX_BYTES: u64 = 32 << 30;
/// Most layers; docker builds no more than 127.
const MAX_LAYERS: usize = 512;
/// Largest window of a zstd stream (log2 of bytes), so that memory is bounded.
const MAX_WINDOW: u32 = 27;

/// How an image's programs want to be started (`config.md` of the OCI image specification).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `NAME=value`, for every command.
    #[serde(default, rename = "Env", deserialize_with = "none_is_empty")]
    pub env: Vec<String>,
    /// Who runs: a user's name or number, perhaps with `:GROUP`; empty: root.
    #[serde(default, rename = "User")]
    pub user: String,
    /// Where its program runs; empty: `/`.
    #[serde(default, rename = "WorkingDir")]
    pub working_dir: String,
    /// The first words of its program.
    #[serde(default, rename = "Entrypoint", deserialize_with = "none_is_empty")]
    pub entrypoint: Vec<String>,
    /// The words after them.
    #[serde(default, rename = "Cmd", deserialize_with = "none_is_empty")]
    pub cmd: Vec<String>,
}

/// Builders write `null` for a list without elements.
fn none_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The part of an image's configuration that matters here.
#[derive(Debug, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<ImageConfig>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// One layer of an image.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Of its bytes as they are kept.
    pub(crate) digest: Digest,
    /// Bytes as they are kept; none where the image does not say.
    pub(crate) size: Option<u64>,
    compression: Compression,
    /// Of the archive itself.
    diff_id: Digest,
}

/// An image whose configuration was checked.
#[derive(Debug, Clone)]
pub struct Image {
    /// Names the image: the digest of its manifest.
    pub manifest: Digest,
    /// How its programs want to be started.
    pub config: ImageConfig,
    pub(crate) layers: Vec<Layer>,
}

impl Image {
    /// The image of a manifest, of which `config` are the bytes that it names as its configuration.
    ///
    /// # Errors
    /// If the configuration is not the one that is named, the image is for other machines, or its
    /// layers are of an unknown kind.
    pub(crate) fn new(manifest: &OciImageManifest, digest: Digest, config: &[u8]) -> Result<Self> {
        let expected = manifest.config.digest.parse()?;
        Digest::of(config).expect(expected, "the image's configuration")?;
        let layers = manifest.layers.iter().map(|layer| {
            let compression = match layer.media_type.rsplit_once(['+', '.']) {
                Some((_, "gzip")) => Compression::Gzip,
                Some((_, "zstd")) => Compression::Zstd,
                Some((_, "tar")) => Compression::None,
                _ => {
                    let kind = layer.media_type.escape_debug();
                    return Err(Error::Image(format!("it has a layer of the kind '{kind}'")));
                }
            };
            let size = u64::try_from(layer.size)
                .map_err(|_| Error::Image("it has a layer of negative size".into()))?;
            Ok((layer.digest.parse()?, Some(size), compression))
        });
        Self::put_together(digest, config, layers.collect::<Result<_>>()?)
    }

    /// The image of a `docker save`: its configuration, and digests of its layers' bytes.
    pub(crate) fn of_docker_archive(config: &[u8], layers: Vec<Digest>) -> Result<Self> {
        let layers = layers.into_iter().map(|digest| (digest, None, Compression::None));
        Self::put_together(Digest::of(config), config, layers.collect())
    }

    fn put_together(
        manifest: Digest,
        config: &[u8],
        layers: Vec<(Digest, Option<u64>, Compression)>,
    ) -> Result<Self> {
        let file: ConfigFile = serde_json::from_slice(config)
            .map_err(|error| Error::Image(format!("its configuration is damaged: {error}")))?;
        let found = format!("{}/{}", file.os, file.architecture);
        if found != PLATFORM {
            return Err(Error::Platform { found });
        }
        let diff_ids = file.rootfs.diff_ids;
        if layers.len() != diff_ids.len() || layers.len() > MAX_LAYERS {
            let (named, known) = (layers.len(), diff_ids.len());
            return Err(Error::Image(format!("it has {named} layers, and names {known}")));
        }
        let layers = layers.into_iter().zip(diff_ids);
        let layers = layers.map(|((digest, size, compression), diff_id)| Layer {
            digest,
            size,
            compression,
            diff_id,
        });
        Ok(Self { manifest, config: file.config.unwrap_or_default(), layers: layers.collect() })
    }

    /// Unpacks the image into the store, on record under `label`. `open` gives the bytes of a layer;
    /// they are compared with its digest.
    ///
    /// # Errors
    /// If a layer is damaged, not the one that is named, or hostile. Nothing is visible then.
    pub(crate) fn unpack(
        &self,
        store: &Store,
        label: &Path,
        open: &dyn Fn(&Layer) -> Result<Box<dyn Read>>,
        progress: &dyn Progress,
    ) -> Result<IngestReport> {
        let limits = ArchiveLimits { members: MAX_MEMBERS, bytes: MAX_BYTES };
        let mut ingest = store.ingest_image(limits)?;
        for layer in &self.layers {
            let name = format!("layer {}", layer.digest);
            let (kept, kept_seal) = Hashing::new(open(layer)?);
            let kept = BufReader::with_capacity(256 * 1024, kept);
            let archive: Box<dyn Read> = match layer.compression {
                Compression::None => Box::new(kept),
                Compression::Gzip => Box::new(MultiGzDecoder::new(kept)),
                Compression::Zstd => {
                    let mut decoder = zstd::stream::read::Decoder::with_buffer(kept)
                        .map_err(Error::io("decompress", &name))?;
                    decoder.window_log_max(MAX_WINDOW).map_err(Error::io("decompress", &name))?;
                    Box::new(decoder)
                }
            };
            let (archive, seal) = Hashing::new(archive);
            ingest.layer(Path::new(&name), Box::new(archive), progress)?;
            kept_seal.digest().expect(layer.digest, &name)?;
            seal.digest().expect(layer.diff_id, format!("the archive in {name}"))?;
        }
        Ok(ingest.finish(label)?)
    }
}
