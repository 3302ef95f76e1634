//! `pyro workspace snapshot ...`, `reset` and `fork`.

use pyro_api::{SnapshotDelete, SnapshotList};

use super::{check_id_only, made};
use crate::args::{ForkArgs, ResetArgs, SnapshotCommand};
use crate::error::Error;
use crate::print::{snapshot as print, workspace};
use crate::session::Session;

pub async fn snapshot(session: &Session, command: SnapshotCommand) -> Result<(), Error> {
    let ui = &session.ui;
    match command {
        SnapshotCommand::Create(args) => {
            let reply = session.call(&args.call()?).await?;
            ui.remarks(&[], &reply.skipped);
            ui.reply(&reply, print::created)
        }
        SnapshotCommand::List(args) => {
            let call = SnapshotList { workspace_id: args.workspace_id };
            ui.reply(&session.call(&call).await?, print::list)
        }
        SnapshotCommand::Delete(args) => {
            let call = SnapshotDelete { workspace_id: args.workspace_id, name: args.name };
            ui.reply(&session.call(&call).await?, print::deleted)
        }
    }
}

pub async fn reset(session: &Session, args: ResetArgs) -> Result<(), Error> {
    session.ui.reply(&session.call(&args.call()?).await?, workspace::reset)
}

pub async fn fork(session: &Session, args: ForkArgs) -> Result<(), Error> {
    let id_only = args.id_only;
    check_id_only(session, id_only)?;
    let info = session.call(&args.call()?).await?;
    made(session, &info, &info.workspace_id, id_only, workspace::created)
}
