//! `pyro vm ...`

use pyro_api::{
    VmCreate, VmDelete, VmList, VmNetworkInfo, VmReapExpired, VmStart, VmStatus, VmStop,
};

use super::{OK, check_id_only, exec, made};
use crate::args::{VmCommand, VmCreateArgs};
use crate::error::Error;
use crate::print::vm as print;
use crate::session::Session;

pub async fn vm(session: &Session, command: VmCommand) -> Result<u8, Error> {
    let ui = &session.ui;
    match command {
        VmCommand::Create(args) => create(session, args).await?,
        VmCommand::List => ui.reply(&session.call(&VmList {}).await?, print::list)?,
        VmCommand::Status(args) => {
            let call = VmStatus { vm_id: args.vm_id };
            ui.reply(&session.call(&call).await?, print::status)?;
        }
        VmCommand::Start(args) => {
            let call = VmStart { vm_id: args.vm_id };
            ui.reply(&session.call(&call).await?, print::moved)?;
        }
        VmCommand::Exec(args) => return exec::exec_vm(session, args).await,
        VmCommand::Stop(args) => {
            let call = VmStop { vm_id: args.vm_id };
            ui.reply(&session.call(&call).await?, print::moved)?;
        }
        VmCommand::Delete(args) => {
            let call = VmDelete { vm_id: args.vm_id };
            ui.reply(&session.call(&call).await?, print::deleted)?;
        }
        VmCommand::Network(args) => {
            let call = VmNetworkInfo { vm_id: args.vm_id };
            ui.reply(&session.call(&call).await?, print::network)?;
        }
        VmCommand::Reap => ui.reply(&session.call(&VmReapExpired {}).await?, print::reaped)?,
    }
    Ok(OK)
}

async fn create(session: &Session, args: VmCreateArgs) -> Result<(), Error> {
    let id_only = args.id_only;
    check_id_only(session, id_only)?;
    let info = session.call(&VmCreate::from(args)).await?;
    made(session, &info, &info.vm_id, id_only, print::created)
}
