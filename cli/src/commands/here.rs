//! `pyro here`: a copy of the current directory, a command or a shell, and what becomes of the result.

use std::io;
use std::path::{Path, PathBuf};

use pyro_api::{
    BytesText, DiffReply, EnvironmentInspect, EnvironmentPull, EnvironmentState, ErrorBody,
    ErrorCode, Export, ExportReply, LogEntry, OutputStream, WorkspaceDelete, WorkspaceDiff,
    WorkspaceInfo,
};

use super::OK;
use super::attach::{self, End};
use super::diff::changes;
use super::exec::{self, Ended};
use crate::args::{Ending, HereArgs, ShellAttachArgs};
use crate::document::{HereDocument, Outcome};
use crate::error::Error;
use crate::print::paint::Painter;
use crate::print::{count, diff, shown, workspace as print};
use crate::resolve::absolute;
use crate::session::Session;
use crate::terminal;

pub async fn here(session: &Session, args: HereArgs) -> Result<u8, Error> {
    let shell = args.command.is_empty();
    if shell && (session.ui.json || !terminal::is_interactive()) {
        return Err(Error::usage("without a command this opens a shell, which needs a terminal")
            .hint("put a command after '--', for example: pyro here -- make test"));
    }
    let create = args.create()?;
    let call = args.exec("");
    let ending = Ending::from(args.ending);
    if let Ending::Export(dir) = &ending {
        refuse_existing(dir)?;
    }
    install(session, &create.environment).await?;
    let info = session.call(&create).await?;
    session.ui.remarks(&info.workspace_seed.warnings, &info.workspace_seed.skipped);
    let entries = count(info.workspace_seed.entry_count, "entry", "entries");
    let id = shown(&info.workspace_id);
    session.ui.note(format_args!("pyro: workspace {id}, a copy of this directory ({entries})"));
    let here = Here { session, info: &info };
    let ended = if shell {
        here.shell(ending).await
    } else {
        let workspace_id = info.workspace_id.clone();
        here.command(&pyro_api::WorkspaceExec { workspace_id, ..call }, ending).await
    };
    if ended.is_err() {
        kept(session, &info);
    }
    ended
}

/// Builds the environment when it is not there yet.
async fn install(session: &Session, environment: &str) -> Result<(), Error> {
    let environment = environment.to_owned();
    let inspect = EnvironmentInspect { environment: environment.clone() };
    if session.call(&inspect).await?.summary.state == EnvironmentState::Installed {
        return Ok(());
    }
    session.ui.note(format_args!(
        "pyro: {} is not installed yet; building it from packages, this once",
        shown(&environment)
    ));
    session.call(&EnvironmentPull { environment, force: false }).await.map(drop)
}

fn refuse_existing(dir: &Path) -> Result<(), Error> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::system(format!("cannot look at {}", dir.display()), error)),
        Ok(_) => Err(Error::Refused(
            ErrorBody::new(
                ErrorCode::AlreadyExists,
                format!("{} exists already", shown(&dir.to_string_lossy())),
            )
            .hint("name a directory that does not exist yet"),
        )),
    }
}

fn kept(session: &Session, info: &WorkspaceInfo) {
    let name = print::handle(info);
    session.ui.note(format_args!(
        "pyro: workspace {name} is kept\n  \
         pyro workspace diff {name} --patch\n  \
         pyro workspace exec {name} -- CMD\n  \
         pyro workspace export {name} . --output DIR\n  \
         pyro workspace delete {name}"
    ));
}

/// What to do, given what was asked for.
fn decide(ending: Ending, changed: bool, can_ask: bool) -> Ending {
    match ending {
        Ending::Ask if !changed => Ending::Discard,
        // Nobody to ask: work is never thrown away unasked.
        Ending::Ask if !can_ask => Ending::Keep,
        ending => ending,
    }
}

/// A workspace that was made for one command or shell.
struct Here<'a> {
    session: &'a Session,
    info: &'a WorkspaceInfo,
}

impl Here<'_> {
    /// Runs the command, shows what it changed, and does with it what is wanted. Ctrl-C ends the
    /// command only; a further one ends pyro and keeps the workspace.
    async fn command(&self, call: &pyro_api::WorkspaceExec, ending: Ending) -> Result<u8, Error> {
        let (code, command) = match exec::follow(self.session, call).await? {
            Ended::Itself(entry) => (exec::finish(&self.session.ui, &entry.result), Some(*entry)),
            Ended::Killed(signal, entry) => (128 + signal, entry.map(|entry| *entry)),
        };
        self.conclude(command, ending).await.map(|()| code)
    }

    /// Gives the user a shell, then goes on as after a command; who detaches comes back later.
    async fn shell(&self, ending: Ending) -> Result<u8, Error> {
        let args = ShellAttachArgs::new_shell(self.info.workspace_id.clone());
        match attach::use_shell(self.session, args).await? {
            End::Ended(_) => self.conclude(None, ending).await?,
            End::Detached => kept(self.session, self.info),
        }
        Ok(OK)
    }

    /// Shows what was changed, and does with it what is wanted.
    async fn conclude(&self, command: Option<LogEntry>, ending: Ending) -> Result<(), Error> {
        let ui = &self.session.ui;
        let workspace_id = self.info.workspace_id.clone();
        let call = WorkspaceDiff { patch: true, ..WorkspaceDiff::of(workspace_id) };
        let diff = self.session.call(&call).await?;
        ui.remarks(&[], &diff.skipped);
        ui.note(format_args!("\n{}", diff::stat(changes(&diff)).trim_end()));
        let (outcome, export) = match decide(ending, diff.changed, ui.can_ask()) {
            Ending::Ask => self.ask(&diff).await?,
            Ending::Export(dir) => (Outcome::Exported, Some(self.export(&dir, &diff).await?)),
            Ending::Keep => (Outcome::Kept, None),
            Ending::Discard => (Outcome::Discarded, None),
        };
        match outcome {
            Outcome::Kept => kept(self.session, self.info),
            Outcome::Exported => self.delete().await?,
            Outcome::Discarded => {
                self.delete().await?;
                ui.note("pyro: the workspace is discarded");
            }
        }
        if ui.json {
            let workspace_id = self.info.workspace_id.clone();
            ui.document(&HereDocument { workspace_id, outcome, command, diff, export })?;
        }
        Ok(())
    }

    /// Asks until the answer can be carried out.
    async fn ask(&self, diff: &DiffReply) -> Result<(Outcome, Option<ExportReply>), Error> {
        let ui = &self.session.ui;
        loop {
            ui.prompt("\n[k]eep the workspace, [e]xport the result, show the [p]atch, [d]iscard?");
            // At the end of the input nobody answers any more: keep.
            let Some(answer) = self.line().await? else { return Ok((Outcome::Kept, None)) };
            match answer.to_ascii_lowercase().as_str() {
                "" | "k" | "keep" => return Ok((Outcome::Kept, None)),
                "d" | "discard" => return Ok((Outcome::Discarded, None)),
                "p" | "patch" => self.patch().await?,
                "e" | "export" => {
                    let default = format!("../{}", self.info.workspace_id);
                    ui.prompt(format_args!("to which new directory? [{}]", shown(&default)));
                    let Some(dir) = self.line().await? else { return Ok((Outcome::Kept, None)) };
                    let dir = PathBuf::from(if dir.is_empty() { default } else { dir });
                    match self.export(&dir, diff).await {
                        Ok(reply) => return Ok((Outcome::Exported, Some(reply))),
                        Err(error @ Error::Interrupted(_)) => return Err(error),
                        Err(error) => ui.failure(error.into_body()),
                    }
                }
                _ => ui.note("please answer k, e, p or d"),
            }
        }
    }

    /// One line of standard input; `None` at its end.
    async fn line(&self) -> Result<Option<String>, Error> {
        let read = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|n| (n > 0).then_some(line))
        });
        tokio::select! {
            biased;
            signal = self.session.interrupts.next() => Err(Error::Interrupted(signal)),
            line = read => match line {
                Ok(Ok(line)) => Ok(line.map(|line| line.trim().to_owned())),
                Ok(Err(source)) => Err(Error::system("standard input cannot be read", source)),
                Err(_) => Ok(None),
            }
        }
    }

    /// Shows the whole patch, on standard error: standard output is the command's.
    async fn patch(&self) -> Result<(), Error> {
        let workspace_id = self.info.workspace_id.clone();
        let call = WorkspaceDiff { patch: true, stream: true, ..WorkspaceDiff::of(workspace_id) };
        let mut painter = Painter::new(false);
        let print = |event| {
            if let Some((OutputStream::Stdout, _, bytes)) = exec::output_bytes(event)? {
                self.session.ui.error_bytes(painter.piece(&bytes).as_bytes());
            }
            Ok(())
        };
        self.session.stream(&call, print).await.map(drop)
    }

    /// Exports exactly the tree that was shown.
    async fn export(&self, dir: &Path, diff: &DiffReply) -> Result<ExportReply, Error> {
        let reply = self
            .session
            .call(&Export {
                workspace_id: self.info.workspace_id.clone(),
                path: BytesText::from("."),
                more: Vec::new(),
                changed: false,
                archive: false,
                output_path: Some(absolute(dir)?),
                force: false,
                tree: Some(diff.tree.clone()),
                no_freeze: false,
            })
            .await?;
        let ui = &self.session.ui;
        ui.remarks(&reply.warnings, &reply.skipped);
        ui.note(format_args!("pyro: {}", print::exported(&reply).trim_end()));
        Ok(reply)
    }

    async fn delete(&self) -> Result<(), Error> {
        let workspace_id = self.info.workspace_id.clone();
        self.session.call(&WorkspaceDelete { workspace_id }).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_work_is_never_thrown_away_unasked() {
        assert_eq!(decide(Ending::Ask, true, false), Ending::Keep);
        assert_eq!(decide(Ending::Ask, true, true), Ending::Ask);
        assert_eq!(decide(Ending::Ask, false, true), Ending::Discard);
        assert_eq!(decide(Ending::Ask, false, false), Ending::Discard);
    }

    #[test]
    fn what_was_asked_for_is_done_whatever_changed() {
        let endings = [Ending::Keep, Ending::Discard, Ending::Export("/x".into())];
        for (ending, changed) in endings.iter().zip([false, true, false]) {
            assert_eq!(decide(ending.clone(), changed, true), *ending);
        }
    }
}
