//! Questions to whoever sits at the terminal.

use std::fmt::Display;
use std::io;

use crate::error::Error;
use crate::session::Session;

/// One line of standard input; `None` at its end.
pub async fn line(session: &Session) -> Result<Option<String>, Error> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|n| (n > 0).then_some(line))
    });
    tokio::select! {
        biased;
        signal = session.interrupts.next() => Err(Error::Interrupted(signal)),
        line = read => match line {
            Ok(Ok(line)) => Ok(line.map(|line| line.trim().to_owned())),
            Ok(Err(source)) => Err(Error::system("standard input cannot be read", source)),
            Err(_) => Ok(None),
        }
    }
}

/// Whether the answer is yes; no answer is none.
pub async fn yes(session: &Session, question: impl Display) -> Result<bool, Error> {
    session.ui.prompt(format_args!("{question} [y/N]"));
    let answer = line(session).await?.unwrap_or_default();
    Ok(["y", "yes"].contains(&&*answer.to_ascii_lowercase()))
}
