//! Fetching images from registries (OCI distribution specification).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use futures::StreamExt;
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, client};
use pyro_store::{IngestReport, Progress, Store};

use crate::blobs::{BlobCache, Partial};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::reference::is_local;

/// Longest silence of a registry.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(20);
/// How often a blob is begun or gone on with before it is an error.
const ATTEMPTS: usize = 3;
/// Largest configuration of an image, in bytes.
const MAX_CONFIG: i64 = 8 << 20;

/// What a fetch tells its caller: what is being fetched, bytes of it so far, and of how many.
pub type Fetching<'a> = &'a (dyn Fn(&str, u64, u64) + Sync);

/// A registry, as one user sees it, and an image in it.
pub struct Registry {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
    /// Platforms of an index that has none for guests.
    others: Arc<Mutex<Vec<String>>>,
}

/// An image whose manifest and configuration were fetched.
pub struct RemoteImage {
    /// What it is.
    pub image: Image,
    manifest: OciImageManifest,
}

impl Registry {
    /// Will fetch `reference` with the credentials that the user's docker configuration has for its
    /// registry (`DOCKER_CONFIG`, `~/.docker/config.json`, credential helpers), or anonymously.
    ///
    /// # Errors
    /// If there are credentials and they cannot be read.
    pub fn open(reference: &Reference) -> Result<Self> {
        // Another part of the process may have chosen: either will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let others = Arc::<Mutex<Vec<String>>>::default();
        let seen = others.clone();
        let local = is_local(reference.resolve_registry());
        let config = ClientConfig {
            protocol: if local { ClientProtocol::Http } else { ClientProtocol::Https },
            platform_resolver: Some(Box::new(move |entries| {
                let platforms = entries.iter().filter_map(|entry| entry.platform.as_ref());
                let platforms = platforms.map(|it| format!("{}/{}", it.os, it.architecture));
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = platforms.collect();
                client::linux_amd64_resolver(entries)
            })),
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            user_agent: concat!("pyro/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let auth = credentials(reference)?;
        Ok(Self { client: Client::new(config), reference: reference.clone(), auth, others })
    }

    /// What the reference names now.
    ///
    /// # Errors
    /// As [`Registry::image`].
    pub async fn digest(&self) -> Result<Digest> {
        let fetched = self.client.fetch_manifest_digest(&self.reference, &self.auth).await;
        fetched.map_err(|error| self.blame(error))?.parse()
    }

    /// Fetches what the image says of itself that has this digest: the reference may name another one
    /// by now.
    ///
    /// # Errors
    /// If the registry cannot be reached or refuses, there is no such image, or none for guests.
    pub async fn image(&self, digest: Digest) -> Result<RemoteImage> {
        let exact = self.reference.clone_with_digest(digest.to_string());
        let pulled = self.client.pull_image_manifest(&exact, &self.auth).await;
        let (manifest, digest) = pulled.map_err(|error| self.blame(error))?;
        if manifest.config.size > MAX_CONFIG {
            return Err(Error::Image("its configuration is too large".into()));
        }
        let mut config = Vec::new();
        let pulled = self.client.pull_blob(&self.reference, &manifest.config, &mut config).await;
        pulled.map_err(|error| self.blame(error))?;
        let image = Image::new(&manifest, digest.parse()?, &config)?;
        Ok(RemoteImage { image, manifest })
    }

    /// Fetches the layers that `cache` does not have, going on where an earlier fetch was interrupted.
    ///
    /// # Errors
    /// If the registry fails three times in a row, or sends something else. What arrived stays in the
    /// cache for the next attempt, unless it is not what was promised.
    pub async fn fetch(
        &self,
        image: &RemoteImage,
        cache: &BlobCache,
        fetching: Fetching<'_>,
    ) -> Result<()> {
        let layers = image.image.layers.iter().zip(&image.manifest.layers);
        let total = image.size();
        let mut before = 0;
        for (layer, descriptor) in layers {
            let size = layer.size.unwrap_or(0);
            if !cache.has(layer.digest) {
                let mut partial = cache.resume(layer.digest)?;
                let tell = |len: u64| fetching(&layer.digest.to_string(), before + len, total);
                self.fetch_blob(descriptor, size, &mut partial, &tell).await?;
                tokio::task::spawn_blocking(|| partial.finish())
                    .await
                    .map_err(|panic| Error::Image(panic.to_string()))??;
            }
            before += size;
        }
        Ok(())
    }

    async fn fetch_blob(
        &self,
        descriptor: &OciDescriptor,
        size: u64,
        partial: &mut Partial,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let mut attempts = 0;
        while partial.len != size {
            if partial.len > size {
                partial.restart()?;
            }
            let had = partial.len;
            match self.fetch_some(descriptor, size, partial, tell).await {
                Err(Error::Registry { .. }) if partial.len > had => attempts = 1,
                Err(Error::Registry { .. }) if attempts + 1 < ATTEMPTS => attempts += 1,
                result => result?,
            }
        }
        Ok(())
    }

    /// Fetches until the blob is complete or the connection breaks.
    async fn fetch_some(
        &self,
        descriptor: &OciDescriptor,
        size: u64,
        partial: &mut Partial,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let (client, reference) = (&self.client, &self.reference);
        let response = client.pull_blob_stream_partial(reference, descriptor, partial.len, None);
        let mut stream = match response.await.map_err(|error| self.blame(error))? {
            BlobResponse::Partial(stream) => stream,
            BlobResponse::Full(stream) => {
                partial.restart()?;
                stream
            }
        };
        while let Some(bytes) = stream.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                // All of it is there, and the stream does not like its hash: neither will `finish`.
                Err(_) if partial.len == size => return Ok(()),
                Err(error) => return Err(self.broken(&error.to_string())),
            };
            if partial.len + bytes.len() as u64 > size {
                partial.discard();
                let digest = &descriptor.digest;
                return Err(Error::Image(format!("{digest} is longer than its {size} bytes")));
            }
            partial.append(&bytes)?;
            tell(partial.len);
        }
        if partial.len == size { Ok(()) } else { Err(self.broken("it hung up in the middle")) }
    }

    /// Unpacks a fetched image into the store; its layers then leave the cache, unless the caller gave
    /// up.
    ///
    /// # Errors
    /// If a layer is damaged or hostile.
    pub fn unpack(
        image: &Image,
        cache: &BlobCache,
        store: &Store,
        label: &Path,
        progress: &dyn Progress,
    ) -> Result<IngestReport> {
        let report = image.unpack(store, label, &|layer| cache.read(layer.digest), progress);
        if !matches!(report, Err(Error::Cancelled | Error::Store(pyro_store::Error::Cancelled))) {
            image.layers.iter().for_each(|layer| cache.remove(layer.digest));
        }
        report
    }

    fn broken(&self, reason: &str) -> Error {
        let registry = self.reference.resolve_registry().to_owned();
        Error::Registry { registry, reason: reason.to_owned() }
    }

    fn blame(&self, error: OciDistributionError) -> Error {
        let unauthorized = || Error::Unauthorized {
            registry: self.reference.resolve_registry().to_owned(),
            repository: self.reference.repository().to_owned(),
            anonymous: self.auth == RegistryAuth::Anonymous,
        };
        let not_found = || Error::NotFound(self.reference.whole());
        match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ServerError { code: 401 | 403, .. } => unauthorized(),
            OciDistributionError::ServerError { code: 404, .. } => not_found(),
            OciDistributionError::ImageManifestNotFoundError(_) => {
                let others = self.others.lock().unwrap_or_else(PoisonError::into_inner).join(", ");
                if others.is_empty() { not_found() } else { Error::Platform { found: others } }
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let codes: Vec<_> = envelope.errors.iter().map(|error| &error.code).collect();
                let any = |wanted: &[OciErrorCode]| codes.iter().any(|code| wanted.contains(code));
                if any(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    unauthorized()
                } else if any(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                ]) {
                    not_found()
                } else {
                    self.broken(&envelope.to_string())
                }
            }
            OciDistributionError::RequestError(error) => {
                let mut reason = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(error) = cause {
                    reason = format!("{reason}: {error}");
                    cause = error.source();
                }
                self.broken(&reason)
            }
            other => self.broken(&other.to_string()),
        }
    }
}

fn credentials(reference: &Reference) -> Result<RegistryAuth> {
    let registry = reference.resolve_registry();
    let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let dir = dir.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".docker")));
    if dir.is_none_or(|dir| !dir.join("config.json").exists()) {
        return Ok(RegistryAuth::Anonymous);
    }
    // Docker's own name for its registry in its configuration.
    let key = if registry == "index.docker.io" || registry == "docker.io" {
        "https://index.docker.io/v1/"
    } else {
        registry
    };
    match docker_credential::get_credential(key) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(RegistryAuth::Basic(user, password))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(RegistryAuth::Bearer(token)),
        Err(
            CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::NoCredentialConfigured,
        ) => Ok(RegistryAuth::Anonymous),
        Err(error) => Err(Error::Credentials {
            registry: registry.to_owned(),
            reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
        }),
    }
}

impl RemoteImage {
    /// Bytes that its layers take in the registry.
    pub fn size(&self) -> u64 {
        self.image.layers.iter().filter_map(|layer| layer.size).sum()
    }
}
