//! `pyro workspace export`

use std::io::Write;
use std::path::Path;

use pyro_api::WorkspaceDiff;
use tempfile::NamedTempFile;

use super::exec::output_bytes;
use crate::args::{ExportArgs, ExportFormat};
use crate::error::Error;
use crate::print::workspace as print;
use crate::session::Session;

pub async fn export(session: &Session, args: ExportArgs) -> Result<(), Error> {
    let ui = &session.ui;
    let standard = args.output.as_os_str() == "-";
    if ui.json && (standard || args.format == ExportFormat::Patch) {
        return Err(Error::usage("--json excludes a patch, and standard output for anything else"));
    }
    match args.format {
        ExportFormat::Plain if standard => {
            Err(Error::usage("only a tar or a patch goes to standard output")
                .hint("add --format tar"))
        }
        ExportFormat::Patch => patch(session, args, standard).await,
        ExportFormat::Tar if standard => {
            let print = |event| match output_bytes(event)? {
                Some((_, _, bytes)) => ui.bytes(&bytes),
                None => Ok(()),
            };
            let reply = session.stream(&args.call()?, print).await?;
            ui.remarks(&reply.warnings, &reply.skipped);
            Ok(())
        }
        ExportFormat::Plain | ExportFormat::Tar => {
            let reply = session.call(&args.call()?).await?;
            ui.remarks(&reply.warnings, &reply.skipped);
            ui.reply(&reply, print::exported)
        }
    }
}

/// The patch as it comes, to standard output or a file that appears when it is complete.
async fn patch(session: &Session, args: ExportArgs, standard: bool) -> Result<(), Error> {
    let ui = &session.ui;
    if !args.changed {
        return Err(Error::usage("a patch is of what changed").hint("add --changed"));
    }
    let (target, force) = (args.output.clone(), args.force);
    let export = args.call()?;
    let call = WorkspaceDiff {
        patch: true,
        stream: true,
        to: export.tree,
        no_freeze: export.no_freeze,
        paths: std::iter::once(export.path).chain(export.more).collect(),
        ..WorkspaceDiff::of(export.workspace_id)
    };
    let cannot = |source| Error::system(format!("{} cannot be written", target.display()), source);
    let mut file = match standard {
        true => None,
        false => Some(beside(&target, force).map_err(cannot)?),
    };
    let print = |event| match (output_bytes(event)?, &mut file) {
        (Some((_, _, bytes)), Some(file)) => file.write_all(&bytes).map_err(cannot),
        (Some((_, _, bytes)), None) => ui.bytes(&bytes),
        (None, _) => Ok(()),
    };
    let reply = session.stream(&call, print).await?;
    ui.remarks(&[], &reply.skipped);
    if let Some(file) = file {
        file.as_file().sync_all().map_err(cannot)?;
        let made = if force { file.persist(&target) } else { file.persist_noclobber(&target) };
        made.map_err(|error| cannot(error.error))?;
        let summary = &reply.summary;
        ui.note(format_args!(
            "a patch of {} of {} changes is in {}",
            summary.text_patched,
            summary.total,
            target.display()
        ));
    }
    Ok(())
}

/// A file that can become `target`.
pub fn beside(target: &Path, force: bool) -> std::io::Result<NamedTempFile> {
    if !force && target.symlink_metadata().is_ok() {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    NamedTempFile::new_in(parent)
}
