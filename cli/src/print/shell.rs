//! Shells.

use pyro_api::{
    ShellCloseReply, ShellInfo, ShellListReply, ShellRead, ShellReadReply, ShellSignalReply,
    ShellState, ShellWriteReply,
};

use super::{count, fields, or_dash, shown, table};

fn state(shell: &ShellInfo) -> String {
    match (shell.state, shell.exit_code) {
        (ShellState::Running, _) => "running".to_owned(),
        (ShellState::Stopped, None) => "stopped".to_owned(),
        (ShellState::Stopped, Some(code)) => format!("stopped (exit code {code})"),
    }
}

/// `pyro workspace shell open`
pub fn opened(shell: &ShellInfo) -> String {
    let (workspace, id) = (shown(&shell.workspace_id), shown(&shell.shell_id));
    fields([
        ("shell", id.clone()),
        ("workspace", workspace.clone()),
        ("cwd", shown(&shell.cwd)),
        ("terminal", format!("{} columns, {} rows", shell.cols, shell.rows)),
        ("next", format!("pyro workspace shell write {workspace} {id} --input CMD")),
    ])
}

/// `pyro workspace shell list`
pub fn list(reply: &ShellListReply) -> String {
    let head = ["SHELL", "STATE", "CWD", "SIZE", "STARTED"].map(String::from).to_vec();
    let row = |shell: &ShellInfo| {
        vec![
            shown(&shell.shell_id),
            state(shell),
            shown(&shell.cwd),
            format!("{}x{}", shell.cols, shell.rows),
            shell.started_at.clone(),
        ]
    };
    table([head].into_iter().chain(reply.shells.iter().map(row)).collect())
}

/// `pyro workspace shell read`: what is said beside the output.
pub fn read(call: &ShellRead, reply: &ShellReadReply) -> String {
    let mut text = format!(
        "pyro: {} is {}; next cursor {}",
        shown(&reply.shell.shell_id),
        state(&reply.shell),
        reply.next_cursor
    );
    let lost = reply.cursor.saturating_sub(call.cursor);
    if lost > 0 {
        let lost = count(lost, "byte", "bytes");
        text += &format!("; {lost} before {} are no longer kept", reply.cursor);
    }
    if reply.truncated && lost == 0 {
        text += ", where more can be read";
    }
    text
}

/// `pyro workspace shell write`
pub fn written(reply: &ShellWriteReply) -> String {
    let enter = if reply.append_newline { " and a newline" } else { "" };
    let typed = count(reply.input_length, "byte", "bytes");
    format!("typed {typed}{enter} into {}\n", shown(&reply.shell.shell_id))
}

/// `pyro workspace shell signal`
pub fn signalled(reply: &ShellSignalReply) -> String {
    format!("sent {} to {}\n", shown(&reply.signal), shown(&reply.shell.shell_id))
}

/// `pyro workspace shell close`
pub fn closed(reply: &ShellCloseReply) -> String {
    let code = or_dash(reply.shell.exit_code);
    format!("closed {} (exit code {code})\n", shown(&reply.shell.shell_id))
}
