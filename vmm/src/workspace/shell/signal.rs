//! Names of signals.

use pyro_format::escape;

use crate::error::{Error, Result};

/// Signals that a shell can be sent: name and number (signal(7)).
const SIGNALS: [(&str, u8); 11] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("WINCH", 28),
];

/// Name without `SIG`, and number, of the signal that is called `name`, in any case and with or
/// without `SIG`.
pub fn parse(name: &str) -> Result<(&'static str, u8)> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS.into_iter().find(|(known, _)| *known == bare).ok_or_else(|| {
        let known = SIGNALS.map(|(name, _)| name).join(", ");
        Error::Invalid(format!(
            "there is no signal '{}'; known are {known}",
            escape(name.as_bytes())
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_signal_are_one() {
        for name in ["INT", "int", "SIGINT", "SigInt"] {
            assert_eq!(parse(name).unwrap(), ("INT", 2), "{name}");
        }
        for name in ["", "SIG", "SIGSIGINT", "2", "SEGV", "INT "] {
            let error = parse(name).unwrap_err().to_string();
            assert!(error.contains("HUP, INT, QUIT, KILL"), "{error}");
        }
    }
}
