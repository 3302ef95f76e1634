//! `pyro store ...`

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{
    ErrorCode, StoreCat, StoreCatReply, StoreDelete, StoreDiff, StoreFindChunk, StoreGc, StoreList,
    StoreLs, StoreMountReply, StoreRebuildIndex, StoreStats, StoreUsage, StoreVerify,
};
use serde::Serialize;

use super::OK;
use super::exec::output_bytes;
use crate::args::{StoreCatArgs, StoreCommand, StoreMountArgs};
use crate::error::Error;
use crate::print::diff::{self, Changes};
use crate::print::store as print;
use crate::session::Session;

/// Longest file that fits the document of `cat --json`, in bytes.
const CAT_BYTES: usize = 64 << 20;

pub async fn store(session: &Session, command: StoreCommand) -> Result<u8, Error> {
    let ui = &session.ui;
    match command {
        StoreCommand::Ingest(args) => {
            let reply = session.call(&args.call()?).await?;
            ui.remarks(&reply.warnings, &reply.skipped);
            ui.reply(&reply, print::ingested)?;
        }
        StoreCommand::Checkout(args) => {
            ui.reply(&session.call(&args.call()?).await?, print::checked_out)?;
        }
        StoreCommand::Stats => ui.reply(&session.call(&StoreStats {}).await?, print::stats)?,
        StoreCommand::List => ui.reply(&session.call(&StoreList {}).await?, print::list)?,
        StoreCommand::Ls(args) => {
            ui.reply(&session.call(&StoreLs::from(args)).await?, print::ls)?;
        }
        StoreCommand::Cat(args) => cat(session, args).await?,
        StoreCommand::Diff(args) => {
            let reply = session.call(&StoreDiff::from(args)).await?;
            ui.reply(&reply, |reply| {
                let (summary, entries) = (&reply.summary, &reply.entries[..]);
                diff::short(Changes { summary, entries, renames: &reply.renames })
            })?;
        }
        StoreCommand::Tree(args) => {
            let reply = session.call(&StoreLs::from(&args)).await?;
            ui.reply(&print::to_depth(reply, &args), |reply| print::tree(reply, &args))?;
        }
        StoreCommand::Du(args) => {
            let call = StoreUsage { baselines: args.baselines };
            ui.reply(&session.call(&call).await?, print::du)?;
        }
        StoreCommand::Log => {
            ui.reply(&session.call(&StoreUsage::default()).await?, print::log)?;
        }
        StoreCommand::FindChunk(args) => {
            ui.reply(&session.call(&StoreFindChunk { id: args.id }).await?, print::found)?;
        }
        StoreCommand::Mount(args) => mount(session, args).await?,
        StoreCommand::ExportBundle(args) => {
            ui.reply(&session.call(&args.call()?).await?, print::exported)?;
        }
        StoreCommand::ImportBundle(args) => {
            ui.reply(&session.call(&args.call()?).await?, print::imported)?;
        }
        StoreCommand::Delete(args) => {
            let call = StoreDelete { baselines: args.baselines };
            ui.reply(&session.call(&call).await?, print::deleted)?;
        }
        StoreCommand::Gc(args) => {
            ui.reply(&session.call(&StoreGc::from(args)).await?, print::collected)?;
        }
        StoreCommand::RebuildIndex => {
            let reply = session.call(&StoreRebuildIndex {}).await?;
            ui.reply(&reply, print::rebuilt)?;
            if !reply.damage.is_empty() {
                return Ok(ErrorCode::Damaged.exit_code());
            }
        }
        StoreCommand::Verify => {
            let reply = session.call(&StoreVerify {}).await?;
            ui.reply(&reply, print::verified)?;
            if !reply.clean {
                return Ok(ErrorCode::Damaged.exit_code());
            }
        }
    }
    Ok(OK)
}

/// Says where it is as soon as it is mounted. A signal is the way to end it.
async fn mount(session: &Session, args: StoreMountArgs) -> Result<(), Error> {
    let ended = session
        .stream(&args.call()?, |event| {
            let Some((_, _, json)) = output_bytes(event)? else { return Ok(()) };
            let reply: StoreMountReply = serde_json::from_slice(&json)
                .map_err(|error| Error::usage(format!("the daemon's answer is odd: {error}")))?;
            session.ui.reply(&reply, print::mounted)
        })
        .await;
    match ended {
        Err(Error::Interrupted(_)) => Ok(()),
        ended => ended.map(|_| ()),
    }
}

/// What `store cat --json` prints.
#[derive(Serialize)]
struct CatDocument {
    #[serde(flatten)]
    reply: StoreCatReply,
    content_b64: String,
}

async fn cat(session: &Session, args: StoreCatArgs) -> Result<(), Error> {
    let call = StoreCat::from(args);
    let mut content = Vec::new();
    let reply = session
        .stream(&call, |event| {
            let Some((_, _, bytes)) = output_bytes(event)? else { return Ok(()) };
            if !session.ui.json {
                return session.ui.bytes(&bytes);
            }
            if content.len() + bytes.len() > CAT_BYTES {
                return Err(Error::usage("the file is too large for a JSON document")
                    .hint("leave --json out"));
            }
            content.extend_from_slice(&bytes);
            Ok(())
        })
        .await?;
    if session.ui.json {
        let content_b64 = STANDARD.encode(&content);
        session.ui.document(&CatDocument { reply, content_b64 })?;
    }
    Ok(())
}
