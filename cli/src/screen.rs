//! Long output for a person: through a pager when standard output is a terminal, as it is when not.

use std::io::{self, IsTerminal, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::error::Error;
use crate::ui::Ui;

/// Colours pass, a page that fits ends at once, and the text stays on the terminal.
const PAGER: &str = "less -FRX";

/// Where long output goes.
pub struct Screen<'u> {
    ui: &'u Ui,
    /// A pager is to start with the first bytes: until then the terminal shows how far the work is.
    paged: bool,
    pager: Option<(Child, ChildStdin)>,
    /// A person looks: what is printed must be safe for the terminal.
    pub terminal: bool,
    /// And sees colours.
    pub colour: bool,
}

impl<'u> Screen<'u> {
    /// Begins; `paged`: with a pager, if there is a terminal to page on.
    pub fn open(ui: &'u Ui, paged: bool) -> Self {
        let terminal = !ui.json && io::stdout().is_terminal();
        let choice = anstream::AutoStream::choice(&io::stdout());
        let colour = terminal && choice != anstream::ColorChoice::Never;
        Self { ui, paged: terminal && paged, pager: None, terminal, colour }
    }

    /// Shows bytes. Nothing is wrong with a reader who has seen enough: see [`Self::close`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if std::mem::take(&mut self.paged) {
            self.pager = start();
        }
        match &mut self.pager {
            Some((_, stdin)) => stdin.write_all(bytes).map_err(Error::Output),
            None => self.ui.bytes(bytes),
        }
    }

    /// Waits until the reader is done. `result` is what came of the work before: that a pager was
    /// left is no error.
    pub fn close<T>(self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        let Some((mut child, stdin)) = self.pager else { return result.map(Some) };
        drop(stdin);
        let ended = child.wait();
        match result {
            Err(error) if error.is_broken_pipe() => Ok(None),
            Err(error) => Err(error),
            Ok(value) => match ended {
                Ok(_) => Ok(Some(value)),
                Err(source) => Err(Error::system("the pager cannot be waited for", source)),
            },
        }
    }
}

/// The pager that is wanted, if any; one that does not start is done without.
fn start() -> Option<(Child, ChildStdin)> {
    let wanted = wanted(|name| std::env::var(name).ok())?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(wanted).stdin(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let stdin = child.stdin.take()?;
    Some((child, stdin))
}

/// `PYRO_PAGER`, `PAGER` or the default; an empty one and `cat` mean none.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let given = variable("PYRO_PAGER").or_else(|| variable("PAGER"));
    let pager = given.unwrap_or_else(|| {
        // Without `less` there is no paging.
        format!("if command -v less >/dev/null; then exec {PAGER}; else exec cat; fi")
    });
    Some(pager).filter(|pager| !matches!(pager.trim(), "" | "cat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_the_users_choice() {
        let with = |own: Option<&str>, pager: Option<&str>| {
            wanted(|name| match name {
                "PYRO_PAGER" => own.map(str::to_owned),
                _ => pager.map(str::to_owned),
            })
        };
        assert_eq!(with(Some("most"), Some("more")).as_deref(), Some("most"));
        assert_eq!(with(None, Some("more")).as_deref(), Some("more"));
        assert_eq!(with(Some(""), Some("more")), None);
        assert_eq!(with(None, Some("cat")), None);
        assert!(with(None, None).unwrap().contains(PAGER));
    }
}
