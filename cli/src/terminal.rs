//! The user's own terminal, while a shell of a guest has it.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// How the terminal was; whoever takes it restores it.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether both ends of a conversation are a terminal.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Columns and rows. Terminals that do not know their size count as of the usual one.
pub fn size() -> (u16, u16) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (size.ws_col.min(1000), size.ws_row.min(1000))
        }
        _ => (80, 24),
    }
}

/// The terminal passes every key on as it is, until this is dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Begins.
    pub fn enter() -> io::Result<Self> {
        let was = tcgetattr(io::stdin())?;
        let mut raw = was.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(was);
        restore_before_panic_messages();
        let raw_mode = Self(());
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(raw_mode)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was, if it is raw. For ends of the process that drop nothing.
pub fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(saved) = saved {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &saved);
    }
}

fn restore_before_panic_messages() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            tell(panic);
        }));
    });
}
