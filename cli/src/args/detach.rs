//! The key that ends an attachment.

/// A key with Ctrl, as terminals send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKey {
    /// As people write it.
    pub name: String,
    /// What it may arrive as: the control character, or in full, where a program in the guest has
    /// asked the terminal for that.
    forms: [Vec<u8>; 3],
}

impl Default for DetachKey {
    fn default() -> Self {
        Self::parse(Self::DEFAULT).expect("it is a key with Ctrl")
    }
}

impl DetachKey {
    /// Where nothing else is asked for; as telnet has it.
    pub const DEFAULT: &str = "ctrl-]";

    /// `ctrl-X` or `^X`, where X is a letter or one of `@ [ \ ] ^ _`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let key = lower.strip_prefix("ctrl-").or_else(|| lower.strip_prefix('^'));
        let key = match key.map(str::as_bytes) {
            Some([key @ (b'a'..=b'z' | b'@' | b'['..=b'_')]) => *key,
            _ => return Err("expected ctrl-X or ^X, X a letter or one of @ [ \\ ] ^ _".into()),
        };
        let forms = [
            vec![key & 0x1f],
            format!("\x1b[27;5;{key}~").into_bytes(),
            format!("\x1b[{key};5u").into_bytes(),
        ];
        Ok(Self { name: format!("Ctrl-{}", char::from(key).to_ascii_uppercase()), forms })
    }

    /// Where in `typed` the key is, if it is.
    pub fn find(&self, typed: &[u8]) -> Option<usize> {
        let find = |form: &Vec<u8>| typed.windows(form.len()).position(|window| window == form);
        self.forms.iter().filter_map(find).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_however_the_terminal_sends_it() {
        let key = DetachKey::parse("ctrl-]").unwrap();
        assert_eq!(key.name, "Ctrl-]");
        for (typed, at) in [
            (&b"ab\x1dc"[..], Some(2)),
            (b"a\x1b[27;5;93~", Some(1)),
            (b"\x1b[93;5u", Some(0)),
            (b"]\x1b]", None),
            (b"", None),
        ] {
            assert_eq!(key.find(typed), at, "{typed:?}");
        }
        assert_eq!(DetachKey::parse("^A"), DetachKey::parse("Ctrl-a"));
    }

    #[test]
    fn keys_without_ctrl_are_refused() {
        for text in ["", "]", "ctrl-", "^", "ctrl-ab", "^1", "ctrl-é"] {
            assert!(DetachKey::parse(text).is_err(), "{text}");
        }
    }
}
