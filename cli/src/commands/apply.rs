//! `pyro workspace apply`

use pyro_api::{ApplyReply, ErrorCode};

use super::{OK, ask};
use crate::args::ApplyArgs;
use crate::error::Error;
use crate::print::apply as print;
use crate::session::Session;

pub async fn apply(session: &Session, args: ApplyArgs) -> Result<u8, Error> {
    let ui = &session.ui;
    if args.undo {
        let reply = session.call(&args.undo()?).await?;
        ui.reply(&reply, print::undone)?;
        return Ok(code(!reply.left.is_empty()));
    }
    let mut call = args.call(args.dry_run)?;
    // A tree that is named was reviewed.
    let unseen = !args.dry_run && !args.yes && call.tree.is_none();
    if unseen {
        if !ui.can_ask() {
            return Err(Error::usage("there is nobody to ask whether the plan is right").hint(
                "--dry-run shows it; --tree applies what was reviewed; --yes applies it as it is",
            ));
        }
        let plan = session.call(&args.call(true)?).await?;
        ui.note(print::plan(&plan).trim_end());
        ui.remarks(&plan.warnings, &[]);
        if !nothing_to_do(&plan) && !ask::yes(session, "apply this?").await? {
            ui.note("nothing was changed");
            return Ok(OK);
        }
        // What was shown, whatever the guest did since.
        call.tree = Some(plan.tree);
    }
    let reply = session.call(&call).await?;
    if !unseen {
        ui.remarks(&reply.warnings, &[]);
    }
    ui.reply(&reply, |reply| {
        let plan = if unseen { String::new() } else { print::plan(reply) };
        let done = if args.dry_run { String::new() } else { print::applied(reply) };
        plan + &done
    })?;
    Ok(code(!args.dry_run && reply.summary.conflicts > 0))
}

fn nothing_to_do(plan: &ApplyReply) -> bool {
    let summary = &plan.summary;
    let written = plan.entries.iter().any(|entry| entry.written_to.is_some());
    !written && summary.total == summary.conflicts + summary.kept + summary.refused
}

fn code(left: bool) -> u8 {
    if left { ErrorCode::Conflict.exit_code() } else { OK }
}
