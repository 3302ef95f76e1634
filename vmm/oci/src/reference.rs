//! Names of images in registries.

use std::net::IpAddr;

use oci_client::Reference;

use crate::error::{Error, Result};

/// Parses a reference such as `python:3`, `localhost:5000/team/app@sha256:...`.
///
/// # Errors
/// [`Error::Reference`].
pub fn parse(text: &str) -> Result<Reference> {
    text.parse().map_err(|error: oci_client::ParseError| Error::Reference {
        reference: text.to_owned(),
        reason: error.to_string(),
    })
}

/// Whether a registry is this host: it may be spoken to without TLS, as nobody listens in between.
pub(crate) fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_those_of_the_usual_registry() {
        assert_eq!(parse("python").unwrap().whole(), "docker.io/library/python:latest");
        assert_eq!(parse("localhost:5000/a/b:1").unwrap().whole(), "localhost:5000/a/b:1");
        for wrong in ["", "A B", "UPPER:1", "x:", "x@sha256:12", "../x", "-x/y"] {
            assert!(matches!(parse(wrong), Err(Error::Reference { .. })), "{wrong}");
        }
    }

    #[test]
    fn only_this_host_is_local() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:80", "[::1]:5000"] {
            assert!(is_local(local), "{local}");
        }
        for other in ["docker.io", "localhost.example:5000", "10.0.0.1:5000", "example.org"] {
            assert!(!is_local(other), "{other}");
        }
    }
}
