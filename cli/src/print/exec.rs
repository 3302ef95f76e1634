//! Commands that belong to no caller.

use pyro_api::{ExecState, ExecView};

use super::{fields, shown};

/// `pyro workspace exec --detach`; `handle` is what the caller calls the workspace.
pub fn started(handle: &str, view: &ExecView) -> String {
    let handle = shown(handle);
    let next = |what: &str| format!("pyro workspace exec {what} {handle} {}", view.sequence);
    let state = match (view.state, view.exit_code) {
        (ExecState::Running, _) => "running".to_owned(),
        (ExecState::Exited, None) => "exited".to_owned(),
        (ExecState::Exited, Some(code)) => format!("exited with {code}"),
    };
    fields([
        ("sequence", view.sequence.to_string()),
        ("command", shown(&view.command)),
        ("state", state),
        ("read", next("read")),
        ("wait", next("wait")),
        ("kill", next("kill")),
    ])
}

/// `pyro workspace exec kill`
pub fn killed(view: &ExecView) -> String {
    let code = view.exit_code.unwrap_or_default();
    match view.killed {
        true => format!("killed command {}\n", view.sequence),
        false => format!("command {} has ended already, with exit code {code}\n", view.sequence),
    }
}
