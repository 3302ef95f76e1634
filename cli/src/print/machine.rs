//! The machine that pyro runs on, and the daemon.

use pyro_api::{CheckStatus, DaemonStatusReply, DoctorReply};

use super::{fields, table};

/// One line for each check, the way out below it.
pub fn doctor(reply: &DoctorReply) -> String {
    let mut rows = Vec::new();
    for check in &reply.checks {
        let status = match check.status {
            CheckStatus::Ok => "ok",
            CheckStatus::Warning => "warning",
            CheckStatus::Failed => "FAILED",
        };
        rows.push(vec![status.to_owned(), check.name.clone(), check.message.clone()]);
        if let Some(hint) = &check.hint {
            rows.push(vec![String::new(), String::new(), format!("hint: {hint}")]);
        }
    }
    let verdict = match (&reply.execution_mode, reply.ready) {
        (Some(mode), true) => format!("ready: guests run on {mode}"),
        (None, true) => "ready".to_owned(),
        (_, false) => "not ready: see what FAILED above".to_owned(),
    };
    let at = super::shown(&reply.home.lossy());
    format!("{}\npyro {}, everything is kept in {at}\n{verdict}\n", table(rows), reply.version)
}

/// Who answers.
pub fn daemon(reply: &DaemonStatusReply) -> String {
    fields([
        ("version", reply.version.clone()),
        ("build", reply.build.clone()),
        ("pid", reply.pid.to_string()),
        ("home", super::shown(&reply.home.lossy())),
        ("started workspaces", reply.started_workspaces.to_string()),
        ("calls under way", reply.calls.to_string()),
    ])
}
