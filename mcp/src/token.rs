//! The secret that HTTP clients show.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use constant_time_eq::constant_time_eq;
use pyro_api::Home;
use thiserror::Error;

/// Random bytes of a token that is made here.
const BYTES: usize = 32;
/// Shortest token, in bytes: one that cannot be guessed.
const SHORTEST: usize = 16;

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// It could be guessed.
    #[error("a token has at least {SHORTEST} visible ASCII characters")]
    Weak,
    /// The file cannot be used.
    #[error("{path} cannot be used: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A bearer token. Shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// One that somebody chose.
    pub fn new(text: String) -> Result<Self, TokenError> {
        let strong = text.len() >= SHORTEST && text.bytes().all(|b| b.is_ascii_graphic());
        if strong { Ok(Self(text)) } else { Err(TokenError::Weak) }
    }

    /// Where the token of a home is kept.
    pub fn path(home: &Home) -> PathBuf {
        home.path().join("mcp-token")
    }

    /// The token of a home; made, readable for its owner alone, when there is none yet.
    pub fn of_home(home: &Home) -> Result<Self, TokenError> {
        let path = Self::path(home);
        let failed = |reason: String| TokenError::File { path: path.clone(), reason };
        loop {
            match read(&path) {
                Ok(text) => return Self::new(text).map_err(|error| failed(error.to_string())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error.to_string())),
            }
            match make(&path) {
                // Somebody else was faster: theirs counts.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error.to_string())),
                Ok(()) => {}
            }
        }
    }

    /// Whether an `Authorization` header shows it. Takes as long for every token of its length.
    pub fn is_bearer(&self, header: &[u8]) -> bool {
        let Some((scheme, given)) = header.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && constant_time_eq(given, self.0.as_bytes())
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mode = fs::symlink_metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::other("others than its owner may read it"));
    }
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

/// Appears whole or not at all.
fn make(path: &Path) -> io::Result<()> {
    let mut secret = [0; BYTES];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    writeln!(file, "{text}")?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_token_is_refused() {
        for text in ["", "short", "with a space in it!", "müller-müller-müller"] {
            assert!(Token::new(text.into()).is_err(), "{text}");
        }
        assert!(Token::new("0123456789abcdef".into()).is_ok());
    }

    #[test]
    fn only_the_token_itself_is_let_in() {
        let token = Token::new("0123456789abcdef".into()).unwrap();
        assert!(token.is_bearer(b"Bearer 0123456789abcdef"));
        assert!(token.is_bearer(b"bearer 0123456789abcdef"));
        for header in ["", "Bearer", "Bearer ", "Bearer 0123456789abcdeg", "Basic 0123456789abcdef"]
        {
            assert!(!token.is_bearer(header.as_bytes()), "{header}");
        }
        assert!(!token.is_bearer(b"Bearer 0123456789abcdef0"));
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn a_token_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mcp-token");
        make(&path).unwrap();
        let first = read(&path).unwrap();
        assert_eq!(first.len(), 2 * BYTES);
        assert_eq!(make(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap(), first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).is_err());
    }
}
