//! Ids: BLAKE3 digests that cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A text that is no 64-digit lower-case hex id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an id: expected 64 hex digits")]
pub struct ParseIdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with exactly these digest bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 digest bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The id of `bytes`: their plain BLAKE3 digest.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            /// Hex where the format is for people (JSON), 32 bytes elsewhere.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    <[u8; 32]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id!(
    /// One chunk: BLAKE3 of its bytes.
    ChunkId
);
id!(
    /// One file's content: BLAKE3 of all its bytes, however they are cut (what `b3sum` prints).
    FileId
);
id!(
    /// One directory node: BLAKE3 of its canonical encoding.
    TreeId
);
id!(
    /// One directory's modification times: BLAKE3 of the canonical encoding.
    TimesId
);
id!(
    /// A whole tree with the mode of its top directory: BLAKE3 of the canonical encoding.
    RootId
);
id!(
    /// A baseline: a root with its modification times.
    BaselineId
);

impl FileId {
    /// The only chunk of a one-chunk file has the same digest as the file.
    pub const fn sole_chunk(self) -> ChunkId {
        ChunkId(self.0)
    }
}

fn parse_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(ParseIdError);
    }
    let nibble = |d: u8| match d {
        b'0'..=b'9' => Ok(d - b'0'),
        b'a'..=b'f' => Ok(d - b'a' + 10),
        _ => Err(ParseIdError),
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_rejects_other_texts() {
        let id = FileId::of(b"abc");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "0", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65)] {
            assert_eq!(bad.parse::<FileId>(), Err(ParseIdError), "{bad}");
        }
    }

    #[test]
    fn a_file_id_is_what_b3sum_prints() {
        assert_eq!(
            FileId::of(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }
}
