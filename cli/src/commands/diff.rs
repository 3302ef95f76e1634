//! `pyro workspace diff`

use std::io::{BufWriter, Write};
use std::path::Path;

use pyro_api::{DiffReply, WorkspaceDiff};

use super::exec::output_bytes;
use super::export::beside;
use crate::args::{DiffArgs, DiffForm};
use crate::error::Error;
use crate::print::diff::{self, Changes};
use crate::print::paint::{self, Painter};
use crate::print::{count, shown};
use crate::review;
use crate::screen::Screen;
use crate::session::Session;

pub async fn diff(session: &Session, args: DiffArgs) -> Result<(), Error> {
    let DiffForm { patch, stat, name_status, html } = &args.form;
    let (patch, stat, name_status) = (*patch, *stat, *name_status);
    let json = session.ui.json;
    if json && (patch || stat || name_status || html.is_some()) {
        return Err(Error::usage("--json excludes --patch, --stat, --name-status and --html")
            .hint("the document of --json holds what they print"));
    }
    if let Some(html) = html {
        return write_page(session, &args, html).await;
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
        (true, _) => diff::stat(Changes::from(&reply)),
        (_, true) => diff::name_status(Changes::from(&reply)),
        _ => diff::short(Changes::from(&reply)),
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

/// The page, complete or not at all.
async fn write_page(session: &Session, args: &DiffArgs, target: &Path) -> Result<(), Error> {
    let cannot = |source| Error::system(format!("{} cannot be written", target.display()), source);
    let mut page = beside(target, true).map_err(cannot)?;
    // The patch may be long; the reply, which comes last, tells what of it is whose.
    let kept = |source| Error::system("the patch cannot be kept in a temporary file", source);
    let mut patch = BufWriter::new(tempfile::tempfile().map_err(kept)?);
    let call = WorkspaceDiff { binary: false, ..args.call(true, true) };
    let keep = |event| match output_bytes(event)? {
        Some((_, _, bytes)) => patch.write_all(&bytes).map_err(kept),
        None => Ok(()),
    };
    let reply = session.stream(&call, keep).await?;
    let mut patch = patch.into_inner().map_err(|error| kept(error.into_error()))?;
    let mut out = BufWriter::new(page.as_file_mut());
    review::write(&mut out, &reply, &mut patch).map_err(cannot)?;
    out.flush().map_err(cannot)?;
    drop(out);
    page.as_file().sync_all().map_err(cannot)?;
    page.persist(target).map_err(|error| cannot(error.error))?;
    remarks(session, &reply);
    let changes = count(reply.summary.total, "change", "changes");
    session.ui.note(format_args!("{changes} to review in {}", target.display()));
    session.ui.text(&format!("tree {}\n", shown(&reply.tree)))
}

/// What is not among the entries.
fn remarks(session: &Session, reply: &DiffReply) {
    session.ui.remarks(&[], &reply.skipped);
    if let Some(hidden) = diff::hidden(&reply.hidden) {
        session.ui.note(format_args!("not shown: {hidden}"));
    }
}
