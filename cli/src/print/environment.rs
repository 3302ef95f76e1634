//! Environments.

use pyro_api::{
    EnvironmentDetail, EnvironmentListReply, EnvironmentPruneReply, EnvironmentState,
    EnvironmentSummary,
};

use super::{count, fields, or_dash, shown, size, table};

fn state(state: EnvironmentState) -> &'static str {
    match state {
        EnvironmentState::Installed => "installed",
        EnvironmentState::Absent => "not installed",
        EnvironmentState::Broken => "BROKEN",
    }
}

/// `pyro env list`
pub fn list(reply: &EnvironmentListReply) -> String {
    let head = ["NAME", "STATE", "SIZE", "DESCRIPTION"].map(String::from).to_vec();
    let row = |env: &EnvironmentSummary| {
        vec![
            shown(&env.name),
            state(env.state).to_owned(),
            or_dash(env.size_bytes.map(size)),
            env.description.clone(),
        ]
    };
    table([head].into_iter().chain(reply.environments.iter().map(row)).collect())
}

/// `pyro env pull`
pub fn pulled(reply: &EnvironmentDetail) -> String {
    let env = &reply.summary;
    format!(
        "{} is installed: {}, {}, kernel {}\n",
        shown(&env.name),
        or_dash(env.size_bytes.map(size)),
        count(reply.packages.len() as u64, "package", "packages"),
        or_dash(reply.kernel.as_deref().map(shown)),
    )
}

/// `pyro env inspect`
pub fn inspected(reply: &EnvironmentDetail) -> String {
    let env = &reply.summary;
    let mut text = fields([
        ("name", shown(&env.name)),
        ("description", env.description.clone()),
        ("state", state(env.state).to_owned()),
        ("size", or_dash(env.size_bytes.map(size))),
        ("built at", or_dash(env.built_at.as_deref())),
        ("digest", or_dash(env.digest.as_deref())),
        ("image", or_dash(reply.root_image.as_deref().map(shown))),
        ("kernel", or_dash(reply.kernel.as_deref().map(shown))),
        ("packages", reply.packages.len().to_string()),
    ]);
    let row = |p: &pyro_api::Package| vec![format!("  {}", shown(&p.name)), shown(&p.version)];
    text += &table(reply.packages.iter().map(row).collect());
    text
}

/// `pyro env prune`
pub fn pruned(reply: &EnvironmentPruneReply) -> String {
    let verb = if reply.dry_run { "would remove" } else { "removed" };
    let mut text: String =
        reply.removed.iter().map(|thing| format!("{verb} {}\n", shown(thing))).collect();
    let freed = size(reply.freed_bytes);
    text += &match (reply.removed.is_empty(), reply.dry_run) {
        (true, _) => "nothing to remove\n".to_owned(),
        (false, true) => format!("{freed} would become free\n"),
        (false, false) => format!("{freed} freed\n"),
    };
    text
}
