//! `pyro env ...`

use pyro_api::{
    EnvironmentCreate, EnvironmentImport, EnvironmentInspect, EnvironmentList, EnvironmentPrune,
    EnvironmentPull, EnvironmentRemove, KernelBuild, KernelRemove, KernelShow,
};

use super::OK;
use crate::args::{EnvCommand, KernelCommand};
use crate::error::Error;
use crate::print::{environment as print, kernel};
use crate::session::Session;

pub async fn env(session: &Session, command: EnvCommand) -> Result<u8, Error> {
    let ui = &session.ui;
    match command {
        EnvCommand::List => {
            ui.reply(&session.call(&EnvironmentList {}).await?, print::list)?;
        }
        EnvCommand::Pull(args) => {
            ui.reply(&session.call(&EnvironmentPull::from(args)).await?, print::pulled)?;
        }
        EnvCommand::Import(args) => {
            let call = EnvironmentImport::try_from(args)?;
            ui.reply(&session.call(&call).await?, print::pulled)?;
        }
        EnvCommand::Create(args) => {
            let call = EnvironmentCreate::try_from(args)?;
            ui.reply(&session.call(&call).await?, print::pulled)?;
        }
        EnvCommand::Remove(args) => {
            let call = EnvironmentRemove { environment: args.environment };
            ui.reply(&session.call(&call).await?, print::removed)?;
        }
        EnvCommand::Inspect(args) => {
            ui.reply(&session.call(&EnvironmentInspect::from(args)).await?, print::inspected)?;
        }
        EnvCommand::Prune(args) => {
            ui.reply(&session.call(&EnvironmentPrune::from(args)).await?, print::pruned)?;
        }
        EnvCommand::Kernel(KernelCommand::Build(args)) => {
            let call = KernelBuild { force: args.force };
            ui.reply(&session.call(&call).await?, kernel::shown_kernel)?;
        }
        EnvCommand::Kernel(KernelCommand::Show) => {
            ui.reply(&session.call(&KernelShow {}).await?, kernel::shown_kernel)?;
        }
        EnvCommand::Kernel(KernelCommand::Remove) => {
            ui.reply(&session.call(&KernelRemove {}).await?, kernel::removed)?;
        }
    }
    Ok(OK)
}
