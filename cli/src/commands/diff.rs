//! `pyro workspace diff`

use pyro_api::DiffReply;

use super::exec::output_bytes;
use crate::args::{DiffArgs, DiffForm};
use crate::error::Error;
use crate::print::diff::{self, Changes};
use crate::print::paint::{self, Painter};
use crate::print::shown;
use crate::screen::Screen;
use crate::session::Session;

pub async fn diff(session: &Session, args: DiffArgs) -> Result<(), Error> {
    let DiffForm { patch, stat, name_status } = &args.form;
    let (patch, stat, name_status) = (*patch, *stat, *name_status);
    let json = session.ui.json;
    if json && (patch || stat || name_status) {
        return Err(Error::usage("--json excludes --patch, --stat and --name-status")
            .hint("the document of --json holds what they print"));
    }
    if patch || args.binary && !(json || stat || name_status) {
        return print_patch(session, args).await;
    }
    let reply = session.call(&args.call(stat || json, false)).await?;
    remarks(session, &reply);
    if json {
        return session.ui.document(&reply);
    }
    let text = match (stat, name_status) {
        (true, _) => diff::stat(changes(&reply)),
        (_, true) => diff::name_status(changes(&reply)),
        _ => diff::short(changes(&reply)),
    };
    let mut screen = Screen::open(&session.ui, !args.no_pager);
    let mut text = match (screen.colour, stat) {
        (true, true) => paint::stat(&text),
        (true, false) => paint::list(&text),
        (false, _) => text,
    };
    if !name_status {
        text += &format!("tree {}\n", shown(&reply.tree));
    }
    let shown = screen.bytes(text.as_bytes());
    screen.close(shown).map(drop)
}

/// The whole patch as it comes: byte for byte, or safe to look at on a terminal.
async fn print_patch(session: &Session, args: DiffArgs) -> Result<(), Error> {
    let mut screen = Screen::open(&session.ui, !args.no_pager);
    let mut painter = screen.terminal.then(|| Painter::new(screen.colour));
    let print = |event| match (output_bytes(event)?, &mut painter) {
        (Some((_, _, bytes)), Some(painter)) => screen.bytes(painter.piece(&bytes).as_bytes()),
        (Some((_, _, bytes)), None) => screen.bytes(&bytes),
        (None, _) => Ok(()),
    };
    let reply = session.stream(&args.call(true, true), print).await;
    if let Some(reply) = screen.close(reply)? {
        remarks(session, &reply);
        session.ui.note(format_args!("tree {}", shown(&reply.tree)));
    }
    Ok(())
}

/// What is not among the entries.
fn remarks(session: &Session, reply: &DiffReply) {
    session.ui.remarks(&[], &reply.skipped);
    if let Some(hidden) = diff::hidden(&reply.hidden) {
        session.ui.note(hidden);
    }
}

/// What a diff shows.
pub fn changes(reply: &DiffReply) -> Changes<'_> {
    Changes { summary: &reply.summary, entries: &reply.entries, renames: &reply.renames }
}
