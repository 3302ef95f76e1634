//! Parsers of single values.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use pyro_api::BytesText;

/// `KEY=VALUE` where both are text.
pub fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

/// `NAME=VALUE` where the value may hold any bytes.
pub fn variable(text: OsString) -> Result<(String, BytesText), String> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|b| *b == b'=').filter(|at| *at > 0);
    let at = at.ok_or("expected NAME=VALUE")?;
    let name = std::str::from_utf8(&bytes[..at]).map_err(|_| "the name is not UTF-8")?;
    Ok((name.into(), OsStr::from_bytes(&bytes[at + 1..]).into()))
}

/// A positive number of seconds, fractions allowed.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds > 0.0 => Ok(seconds),
        _ => Err("expected a positive number of seconds".into()),
    }
}

/// A choice that has no default of its own.
pub fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("expected yes or no".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_variable_keeps_bytes_that_are_not_utf8() {
        let (name, value) = variable(OsString::from_vec(b"A=x=\xff".to_vec())).unwrap();
        assert_eq!((name.as_str(), value.0.as_slice()), ("A", &b"x=\xff"[..]));
    }

    #[test]
    fn pairs_without_a_key_are_refused() {
        for text in ["", "=", "=v", "novalue"] {
            assert!(label(text).is_err(), "{text}");
            assert!(variable(text.into()).is_err(), "{text}");
        }
        assert_eq!(label("k="), Ok(("k".into(), String::new())));
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for text in ["0", "-1", "inf", "nan", "soon", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
