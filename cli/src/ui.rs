//! The two streams: data on standard output, prose on standard error.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};
use pyro_api::{Call, EnvironmentPull, ErrorBody, ErrorDocument, SkippedEntry};
use serde::Serialize;

use crate::error::Error;
use crate::print;
use crate::progress::{Look, Progress};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// Skipped entries that are named; JSON has all of them.
const SKIPPED_SHOWN: usize = 20;

/// Where a command's output goes.
pub struct Ui {
    /// Print one JSON document instead of text.
    pub json: bool,
    out: RefCell<BufWriter<Box<dyn Write>>>,
    look: Look,
}

impl Ui {
    /// On the process's own streams.
    pub fn standard(json: bool) -> Self {
        let look = match json {
            true => Look::Hidden,
            false if io::stderr().is_terminal() => Look::Bar,
            false => Look::Lines,
        };
        Self::new(json, look, Box::new(io::stdout()))
    }

    /// With the data going to `out`, in JSON.
    pub fn captured(out: Box<dyn Write>) -> Self {
        Self::new(true, Look::Hidden, out)
    }

    fn new(json: bool, look: Look, out: Box<dyn Write>) -> Self {
        Self { json, out: RefCell::new(BufWriter::with_capacity(64 << 10, out)), look }
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Progress of the call of this name. Away from a terminal only what takes minutes tells how
    /// far it is: a command's standard error is the command's.
    pub fn progress(&self, call: &str) -> Progress {
        Progress::new(match self.look {
            Look::Lines if call != EnvironmentPull::NAME => Look::Hidden,
            look => look,
        })
    }

    /// Data, byte for byte.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = self.out.borrow_mut();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// Data as lines of text; `text` ends with its newline.
    pub fn text(&self, text: &str) -> Result<(), Error> {
        self.bytes(text.as_bytes())
    }

    /// The document of `--json`.
    pub fn document(&self, value: &impl Serialize) -> Result<(), Error> {
        let mut out = self.out.borrow_mut();
        serde_json::to_writer_pretty(&mut *out, value)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(Error::Output)
    }

    /// The reply as a document or, by `human`, as text.
    pub fn reply<T: Serialize>(
        &self,
        reply: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        if self.json { self.document(reply) } else { self.text(&human(reply)) }
    }

    /// Raw bytes of a command's standard error.
    pub fn error_bytes(&self, bytes: &[u8]) {
        let mut err = io::stderr();
        let _ = err.write_all(bytes).and_then(|()| err.flush());
    }

    /// Prose that is not a warning. JSON stands alone.
    pub fn note(&self, text: impl Display) {
        if !self.json {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// A question, without a newline.
    pub fn prompt(&self, text: impl Display) {
        let mut err = anstream::stderr();
        let _ = write!(err, "{text} ").and_then(|()| err.flush());
    }

    /// What the caller may want to know.
    pub fn warn(&self, text: impl Display) {
        self.note(format_args!("{YELLOW}warning:{YELLOW:#} {text}"));
    }

    /// Warnings and left-out entries of a reply.
    pub fn remarks(&self, warnings: &[String], skipped: &[SkippedEntry]) {
        for warning in warnings {
            self.warn(warning);
        }
        for entry in skipped.iter().take(SKIPPED_SHOWN) {
            let (path, reason) = (print::shown(&entry.path), print::shown(&entry.reason));
            self.warn(format_args!("left out: {path} ({reason})"));
        }
        if skipped.len() > SKIPPED_SHOWN {
            let more = skipped.len() - SKIPPED_SHOWN;
            self.warn(format_args!("left out: {more} more; --json lists all"));
        }
    }

    /// A failure: a document with `--json`, else lines on standard error.
    pub fn failure(&self, body: ErrorBody) {
        if self.json {
            // Nobody is left to tell when standard output is closed.
            let _ = self.document(&ErrorDocument { error: body });
            return;
        }
        self.note(format_args!("{RED}error:{RED:#} {}", body.message));
        if let Some(hint) = body.hint {
            self.note(format_args!("{CYAN}hint:{CYAN:#} {hint}"));
        }
    }
}
