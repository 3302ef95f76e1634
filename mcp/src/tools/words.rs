//! A command as a model writes it.

use std::borrow::Cow;
use std::fmt;

use pyro_api::{BytesText, ErrorBody, ErrorCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A line for `sh -c`, or a program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// A line for a shell.
    Line(String),
    /// Words that no shell looks at.
    Argv(Vec<String>),
}

impl Words {
    /// Program and arguments.
    pub fn argv(self) -> Result<Vec<BytesText>, ErrorBody> {
        let words = match self {
            Self::Line(line) if line.trim().is_empty() => Vec::new(),
            Self::Line(line) => vec!["sh".into(), "-c".into(), line],
            Self::Argv(words) => words,
        };
        if words.is_empty() {
            let message = "'command': there is nothing to run";
            return Err(ErrorBody::new(ErrorCode::InvalidArgument, message));
        }
        Ok(words.iter().map(|word| word.as_str().into()).collect())
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a line for a shell, or an array of words")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> Result<Words, E> {
                Ok(Words::Line(line.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Words, A::Error> {
                let mut argv = Vec::new();
                while let Some(word) = words.next_element()? {
                    argv.push(word);
                }
                Ok(Words::Argv(argv))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Words {
    fn schema_name() -> Cow<'static, str> {
        "Words".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {
                    "type": "string",
                    "minLength": 1,
                    "description": "A line for `sh -c`, such as \"make test 2>&1 | tail\".",
                },
                {
                    "type": "array",
                    "items": { "type": "string" },
                    "minItems": 1,
                    "description": "Program and arguments that no shell looks at.",
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_goes_to_a_shell_and_words_do_not() {
        let line: Words = serde_json::from_value(json!("echo $HOME")).unwrap();
        let expected: Vec<BytesText> = ["sh", "-c", "echo $HOME"].map(Into::into).to_vec();
        assert_eq!(line.argv().unwrap(), expected);
        let words: Words = serde_json::from_value(json!(["echo", "$HOME"])).unwrap();
        assert_eq!(words.argv().unwrap(), ["echo", "$HOME"].map(Into::into).to_vec());
    }

    #[test]
    fn nothing_is_no_command_and_a_number_is_none_either() {
        for empty in [json!(""), json!(" \n"), json!([])] {
            let words: Words = serde_json::from_value(empty).unwrap();
            assert_eq!(words.argv().unwrap_err().code, ErrorCode::InvalidArgument);
        }
        let error = serde_json::from_value::<Words>(json!(7)).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid type: integer `7`, expected a line for a shell, or an array of words"
        );
    }
}
