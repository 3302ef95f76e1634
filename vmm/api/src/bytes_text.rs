//! Bytes that are text nearly always: host paths, workspace paths, arguments.

use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Bytes shown as a JSON string when they are UTF-8, else as `{"b64": "..."}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BytesText(pub Vec<u8>);

impl BytesText {
    /// The bytes, with what is not UTF-8 replaced.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Base64 of the bytes when they are not UTF-8.
    pub fn b64_unless_utf8(&self) -> Option<String> {
        std::str::from_utf8(&self.0).is_err().then(|| STANDARD.encode(&self.0))
    }

    /// As a host path.
    pub fn to_path(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.0.clone()))
    }
}

impl From<&Path> for BytesText {
    fn from(path: &Path) -> Self {
        path.as_os_str().into()
    }
}

impl From<&OsStr> for BytesText {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&str> for BytesText {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Shape {
    Text(String),
    Bytes { b64: String },
}

impl Serialize for BytesText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Shape::Bytes { b64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for BytesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Shape::deserialize(deserializer)? {
            Shape::Text(text) => Ok(Self(text.into_bytes())),
            Shape::Bytes { b64 } => STANDARD.decode(b64).map(Self).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for BytesText {
    fn schema_name() -> Cow<'static, str> {
        "BytesText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "description": "Bytes that are not UTF-8.",
                    "properties": { "b64": { "type": "string", "contentEncoding": "base64" } },
                    "required": ["b64"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// A command as one line that a POSIX shell reads back as the same words.
pub fn shell_join(argv: &[BytesText]) -> String {
    let quote = |word: &BytesText| {
        let word = word.lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    argv.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_json() {
        for bytes in [&b"plain"[..], b"", b"\xff/x"] {
            let text = BytesText(bytes.to_vec());
            let json = serde_json::to_string(&text).unwrap();
            assert_eq!(serde_json::from_str::<BytesText>(&json).unwrap(), text, "{json}");
        }
    }

    #[test]
    fn quoting_is_for_the_shell() {
        let argv = ["sh", "-c", "echo 'a b'", ""].map(BytesText::from);
        assert_eq!(shell_join(&argv), r"sh -c 'echo '\''a b'\''' ''");
    }
}
