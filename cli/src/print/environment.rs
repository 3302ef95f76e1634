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
    let content = match &reply.origin {
        None => count(reply.packages.len() as u64, "package", "packages"),
        Some(origin) => format!("from {}", shown(&origin.source)),
    };
    let mut text = format!(
        "{} is installed: {}, {content}, kernel {}\n",
        shown(&env.name),
        or_dash(env.size_bytes.map(size)),
        or_dash(reply.kernel.as_deref().map(shown)),
    );
    if let Some(user) = reply.origin.as_ref().map(|origin| &origin.user).filter(|it| is_other(it)) {
        text += &format!(
            "its commands run as '{}', the image's user; --user names another\n",
            shown(user)
        );
    }
    text
}

/// Whether an image's user is another than root.
fn is_other(user: &str) -> bool {
    !matches!(user.split(':').next(), None | Some("" | "0" | "root"))
}

/// `pyro env remove`
pub fn removed(reply: &EnvironmentPruneReply) -> String {
    format!("removed; {} freed\n", size(reply.freed_bytes))
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
    if let Some(origin) = &reply.origin {
        let words =
            |words: &[String]| words.iter().map(|it| shown(it)).collect::<Vec<_>>().join(" ");
        text += &fields([
            ("source", shown(&origin.source)),
            ("manifest", or_dash(origin.manifest.as_deref().map(shown))),
            ("baseline", shown(&origin.baseline)),
            ("variables", words(&origin.env)),
            ("user", shown(&origin.user)),
            ("directory", shown(&origin.working_dir)),
            ("program", words(&[&origin.entrypoint[..], &origin.cmd].concat())),
        ]);
    }
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
