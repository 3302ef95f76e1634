//! Content named by its SHA-256, as the OCI image specification has it (`descriptor.md`, "Digests").

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A SHA-256, shown as `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hex digits alone.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Fails unless this, which is `what`'s, is the expected one.
    ///
    /// # Errors
    /// [`Error::Digest`].
    pub(crate) fn expect(self, expected: Self, what: impl fmt::Display) -> Result<()> {
        if self == expected {
            return Ok(());
        }
        let (expected, found) = (expected.to_string(), self.to_string());
        Err(Error::Digest { what: what.to_string(), expected, found })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let hex = text.strip_prefix("sha256:")?.as_bytes();
            let lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
            if hex.len() != 64 || !hex.iter().all(lower) {
                return None;
            }
            let mut bytes = [0; 32];
            for (byte, digits) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            }
            Some(Self(bytes))
        };
        parse()
            .ok_or_else(|| Error::Image(format!("'{}' is no SHA-256 digest", text.escape_debug())))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// A reader whose bytes are hashed as they pass; the hash is had from its [`Seal`].
pub(crate) struct Hashing<R> {
    input: R,
    state: Rc<RefCell<Sha256>>,
}

/// Tells the digest of what has passed a [`Hashing`] reader.
pub(crate) struct Seal(Rc<RefCell<Sha256>>);

impl<R> Hashing<R> {
    pub(crate) fn new(input: R) -> (Self, Seal) {
        let state = Rc::new(RefCell::new(Sha256::new()));
        (Self { input, state: state.clone() }, Seal(state))
    }
}

impl Seal {
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.0.borrow().clone().finalize().into())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(out)?;
        self.state.borrow_mut().update(&out[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_are_shown_and_in_no_other_form() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!(digest.hex().starts_with("ba7816bf"));
        for wrong in ["", "sha256:", "sha512:00", &digest.hex(), &digest.to_string().to_uppercase()]
        {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        assert!(format!("sha256:{}", "é".repeat(32)).parse::<Digest>().is_err());
        assert!(format!("sha256:+{}", &digest.hex()[1..]).parse::<Digest>().is_err());
    }
}
