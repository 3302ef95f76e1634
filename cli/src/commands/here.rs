//! `pyro here`: a copy of the current directory, a command or a shell, and what becomes of the result.

use std::io;
use std::path::{Path, PathBuf};

use pyro_api::{
    ApplyReply, BytesText, DiffReply, EnvironmentInspect, EnvironmentPull, EnvironmentState,
    ErrorBody, ErrorCode, Export, ExportReply, GitFetch, LogEntry, OutputStream, SeedOptions,
    WorkspaceApply, WorkspaceDelete, WorkspaceDiff, WorkspaceInfo,
};

use super::OK;
use super::ask;
use super::attach::{self, End};
use super::exec::{self, Ended};
use crate::args::{Ending, HereArgs, ShellAttachArgs};
use crate::document::{HereDocument, Outcome};
use crate::error::Error;
use crate::print::diff::{self, Changes};
use crate::print::paint::Painter;
use crate::print::{apply, count, shown, workspace as print};
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
    let here = Here { session, info: &info, seed: &create.seed };
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
         pyro workspace apply {name} .\n  \
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

/// What became of a workspace, and where.
struct Became {
    outcome: Outcome,
    export: Option<ExportReply>,
    apply: Option<ApplyReply>,
}

impl From<Outcome> for Became {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, export: None, apply: None }
    }
}

impl From<ExportReply> for Became {
    fn from(reply: ExportReply) -> Self {
        Self { outcome: Outcome::Exported, export: Some(reply), apply: None }
    }
}

impl From<ApplyReply> for Became {
    /// A workspace that still has something of its own is kept.
    fn from(reply: ApplyReply) -> Self {
        let all = reply.summary.conflicts == 0 && reply.summary.refused == 0;
        let outcome = if all { Outcome::Applied } else { Outcome::Kept };
        Self { outcome, export: None, apply: Some(reply) }
    }
}

/// A workspace that was made for one command or shell.
struct Here<'a> {
    session: &'a Session,
    info: &'a WorkspaceInfo,
    /// What was left out on the way in is left out on the way home.
    seed: &'a SeedOptions,
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
        ui.note(format_args!("\n{}", diff::stat(Changes::from(&diff)).trim_end()));
        let became = match decide(ending, diff.changed, ui.can_ask()) {
            Ending::Ask => self.ask(&diff).await?,
            Ending::Apply => self.apply(&diff).await?.into(),
            Ending::Export(dir) => self.export(&dir, &diff).await?.into(),
            Ending::Keep => Outcome::Kept.into(),
            Ending::Discard => Outcome::Discarded.into(),
        };
        let Became { outcome, export, apply } = became;
        match outcome {
            Outcome::Kept => kept(self.session, self.info),
            Outcome::Applied | Outcome::Exported => self.delete().await?,
            Outcome::Discarded => {
                self.delete().await?;
                ui.note("pyro: the workspace is discarded");
            }
        }
        if ui.json {
            let workspace_id = self.info.workspace_id.clone();
            let document = HereDocument { workspace_id, outcome, command, diff, export, apply };
            ui.document(&document)?;
        }
        Ok(())
    }

    /// Asks until the answer can be carried out.
    async fn ask(&self, diff: &DiffReply) -> Result<Became, Error> {
        let ui = &self.session.ui;
        loop {
            ui.prompt(
                "\n[a]pply to this directory, make a [b]ranch of its commits, [e]xport the result, \
                 [k]eep the workspace, show the [p]atch, [d]iscard?",
            );
            // At the end of the input nobody answers any more: keep.
            let Some(answer) = ask::line(self.session).await? else { break };
            let done = match answer.to_ascii_lowercase().as_str() {
                "" | "k" | "keep" => break,
                "d" | "discard" => return Ok(Outcome::Discarded.into()),
                "p" | "patch" => self.patch().await.map(|()| None),
                "a" | "apply" => self.plan_and_apply(diff).await,
                "b" | "branch" => self.branch(diff).await.map(|()| None),
                "e" | "export" => {
                    let default = format!("../{}", self.info.workspace_id);
                    ui.prompt(format_args!("to which new directory? [{}]", shown(&default)));
                    let Some(dir) = ask::line(self.session).await? else { break };
                    let dir = PathBuf::from(if dir.is_empty() { default } else { dir });
                    self.export(&dir, diff).await.map(|reply| Some(reply.into()))
                }
                _ => {
                    ui.note("please answer a, b, e, k, p or d");
                    Ok(None)
                }
            };
            match done {
                Ok(Some(became)) => return Ok(became),
                Ok(None) => {}
                Err(error @ Error::Interrupted(_)) => return Err(error),
                Err(error) => ui.failure(error.into_body()),
            }
        }
        Ok(Outcome::Kept.into())
    }

    /// Shows the plan, and carries it out if the user agrees.
    async fn plan_and_apply(&self, diff: &DiffReply) -> Result<Option<Became>, Error> {
        let plan = self.session.call(&self.apply_call(diff, true)?).await?;
        self.session.ui.note(apply::plan(&plan).trim_end());
        if !ask::yes(self.session, "apply this?").await? {
            return Ok(None);
        }
        self.apply(diff).await.map(|reply| Some(reply.into()))
    }

    /// Applies exactly the tree that was shown to the directory that it came from.
    async fn apply(&self, diff: &DiffReply) -> Result<ApplyReply, Error> {
        let reply = self.session.call(&self.apply_call(diff, false)?).await?;
        let ui = &self.session.ui;
        ui.remarks(&reply.warnings, &[]);
        ui.note(format_args!("pyro: {}", apply::applied(&reply).trim_end()));
        Ok(reply)
    }

    fn apply_call(&self, diff: &DiffReply, dry_run: bool) -> Result<WorkspaceApply, Error> {
        Ok(WorkspaceApply {
            workspace_id: self.info.workspace_id.clone(),
            host_path: absolute(Path::new("."))?,
            elsewhere: false,
            dry_run,
            beside: false,
            tree: Some(diff.tree.clone()),
            paths: Vec::new(),
            exclude: self.seed.exclude.clone(),
            gitignore: self.seed.gitignore,
            no_freeze: false,
        })
    }

    /// Makes a branch of the commit that is checked out; what is not committed stays.
    async fn branch(&self, diff: &DiffReply) -> Result<(), Error> {
        let fetch = GitFetch {
            workspace_id: self.info.workspace_id.clone(),
            repository: None,
            branch: None,
            force: true,
            tree: Some(diff.tree.clone()),
            no_freeze: false,
        };
        let reply = self.session.call(&fetch).await?;
        self.session.ui.note(format_args!("pyro: {}", print::fetched(&reply).trim_end()));
        Ok(())
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
        let export = Ending::Export("/x".into());
        let endings = [Ending::Keep, Ending::Discard, export, Ending::Apply];
        for (ending, changed) in endings.iter().zip([false, true, false, false]) {
            assert_eq!(decide(ending.clone(), changed, true), *ending);
        }
    }
}
