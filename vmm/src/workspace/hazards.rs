//! Changed files that programs on the host run, or obey, without being asked.

use pyro_format::{Delta, Node, TreePath, escape};

/// Most paths that are listed.
const LISTED: usize = 100;

/// Warnings about what `deltas` bring below `top`.
pub fn warnings(deltas: &[Delta], top: &TreePath) -> Vec<String> {
    let brought = deltas.iter().filter(|delta| {
        delta.path.starts_with(top) && !matches!(delta.new, None | Some(Node::Dir { .. }))
    });
    brought
        .filter_map(|delta| reason(&delta.path).map(|reason| (delta, reason)))
        .take(LISTED)
        .map(|(delta, reason)| format!("{}: {reason}", escape(delta.path.as_bytes())))
        .collect()
}

fn reason(path: &TreePath) -> Option<&'static str> {
    let names: Vec<_> = path.names().map(|name| name.as_bytes().to_ascii_lowercase()).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let last = *names.last()?;
    let inside = |dir: &[u8]| names[..names.len() - 1].contains(&dir);
    match last {
        b"config" | b"config.worktree" if inside(b".git") => {
            Some("git runs commands that its configuration names")
        }
        _ if inside(b".git") && inside(b"hooks") => Some("git runs its hooks"),
        b"commondir" | b"gitdir" if inside(b".git") => Some("it tells git which repository to use"),
        b".git" => Some("it tells git which repository to use"),
        b".gitmodules" => Some("git clones what it names"),
        b".envrc" => Some("direnv runs it"),
        b"tasks.json" | b"settings.json" | b"launch.json" if inside(b".vscode") => {
            Some("the editor may run what it names")
        }
        _ if inside(b".idea") => Some("the editor may run what it names"),
        b"devcontainer.json" | b".devcontainer.json" => Some("the editor may run what it names"),
        _ if inside(b".husky") => Some("git runs it as a hook"),
        b".mcp.json" | b"settings.local.json" if inside(b".claude") || last == b".mcp.json" => {
            Some("coding agents start the servers and hooks that it names")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_unasked_is_noticed_in_any_case_of_letters() {
        let reason = |text: &str| reason(&TreePath::parse(text.as_bytes()).unwrap());
        for path in [".git/config", "sub/.GIT/hooks/pre-commit", ".envrc", "a/.vscode/tasks.json"] {
            assert!(reason(path).is_some(), "{path}");
        }
        for path in ["config", "hooks/x", ".git/index", "src/main.rs", "tasks.json"] {
            assert!(reason(path).is_none(), "{path}");
        }
    }
}
