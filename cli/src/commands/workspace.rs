//! `pyro workspace ...`

use pyro_api::{
    WorkspaceDelete, WorkspaceDeleteReply, WorkspaceList, WorkspaceLogs, WorkspaceStart,
    WorkspaceStatus, WorkspaceStop,
};

use super::{OK, check_id_only, made};
use super::{apply, diff, exec, export, shell, snapshot};
use crate::args::{CreateArgs, GitCommand, SyncCommand, WorkspaceCommand};
use crate::error::Error;
use crate::print::{shown, workspace as print};
use crate::session::Session;

pub async fn workspace(session: &Session, command: WorkspaceCommand) -> Result<u8, Error> {
    let ui = &session.ui;
    match command {
        WorkspaceCommand::Create(args) => create(session, args).await?,
        WorkspaceCommand::List => {
            ui.reply(&session.call(&WorkspaceList {}).await?, print::list)?;
        }
        WorkspaceCommand::Status(args) => {
            let call = WorkspaceStatus { workspace_id: args.workspace_id };
            ui.reply(&session.call(&call).await?, print::status)?;
        }
        WorkspaceCommand::Exec(args) => return exec::exec(session, args).await,
        WorkspaceCommand::Sync(SyncCommand::Push(args)) => {
            let reply = session.call(&args.call()?).await?;
            ui.remarks(&reply.warnings, &reply.skipped);
            ui.reply(&reply, print::pushed)?;
        }
        WorkspaceCommand::Diff(args) => diff::diff(session, args).await?,
        WorkspaceCommand::Export(args) => export::export(session, args).await?,
        WorkspaceCommand::Apply(args) => return apply::apply(session, args).await,
        WorkspaceCommand::Git(GitCommand::Fetch(args)) => {
            ui.reply(&session.call(&args.call()?).await?, print::fetched)?;
        }
        WorkspaceCommand::Snapshot(command) => snapshot::snapshot(session, command).await?,
        WorkspaceCommand::Reset(args) => snapshot::reset(session, args).await?,
        WorkspaceCommand::Fork(args) => snapshot::fork(session, args).await?,
        WorkspaceCommand::Logs(args) => {
            let call = WorkspaceLogs { workspace_id: args.workspace_id };
            ui.reply(&session.call(&call).await?, print::logs)?;
        }
        WorkspaceCommand::Shell(command) => return shell::shell(session, command).await,
        WorkspaceCommand::Stop(args) => {
            let call = WorkspaceStop { workspace_id: args.workspace_id };
            ui.reply(&session.call(&call).await?, print::moved)?;
        }
        WorkspaceCommand::Start(args) => {
            let call = WorkspaceStart { workspace_id: args.workspace_id };
            ui.reply(&session.call(&call).await?, print::moved)?;
        }
        WorkspaceCommand::Delete(args) => {
            let call = WorkspaceDelete { workspace_id: args.workspace_id };
            ui.reply(&session.call(&call).await?, deleted)?;
        }
    }
    Ok(OK)
}

fn deleted(reply: &WorkspaceDeleteReply) -> String {
    format!("deleted {}\n", shown(&reply.workspace_id))
}

async fn create(session: &Session, args: CreateArgs) -> Result<(), Error> {
    let id_only = args.id_only;
    check_id_only(session, id_only)?;
    let info = session.call(&args.call()?).await?;
    session.ui.remarks(&info.workspace_seed.warnings, &info.workspace_seed.skipped);
    made(session, &info, &info.workspace_id, id_only, print::created)
}
