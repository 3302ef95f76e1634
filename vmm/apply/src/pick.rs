//! The three-way choice at one path.

use pyro_format::{EntryName, FileId, MAX_NAME, Mode, TreePath};

use crate::error::Result;
use crate::merge::{Sides, Stored};
use crate::state::State;

/// What a path is to hold.
pub struct Picked {
    /// This.
    pub now: State,
    /// Its content is merged of these and the host's.
    pub merged: Option<Sides>,
    /// What of it could not be decided, and is as the host has it.
    pub conflict: Option<String>,
}

/// A side that did not change gives way to the one that did; equal changes are one. Of a file's
/// content and mode, each is chosen for itself. `merge` merges contents: the result, or why not.
pub fn pick(
    base: &State,
    theirs: &State,
    ours: &State,
    merge: impl FnOnce(&Sides) -> Result<Result<State, &'static str>>,
) -> Result<Picked> {
    let take = |now: &State| Ok(Picked { now: now.clone(), merged: None, conflict: None });
    let keep = |why: String| Ok(Picked { now: ours.clone(), merged: None, conflict: Some(why) });
    if ours == theirs || theirs == base {
        return take(ours);
    }
    if ours == base {
        return take(theirs);
    }
    match (base, theirs, ours) {
        (
            State::File { mode: m0, size: s0, content: c0 },
            State::File { mode: m1, size: s1, content: c1 },
            State::File { mode: m2, .. },
        ) => {
            let (mut now, merged) = if theirs.holds_same(ours) || theirs.holds_same(base) {
                (ours.clone(), None)
            } else if ours.holds_same(base) {
                (theirs.clone(), None)
            } else {
                let stored =
                    |size: &u64, content: &FileId| Stored { size: *size, content: *content };
                let sides = Sides { base: stored(s0, c0), theirs: stored(s1, c1) };
                match merge(&sides)? {
                    Ok(state) => (state, Some(sides)),
                    Err(why) => return keep(why.to_owned()),
                }
            };
            let chosen = pick_mode(*m0, *m1, *m2);
            if let State::File { mode, .. } = &mut now {
                *mode = chosen.unwrap_or(*m2);
            }
            let conflict = chosen.is_none().then(|| modes(*m1, *m2));
            Ok(Picked { now, merged, conflict })
        }
        // Without a base, equal contents differ only in their modes.
        (_, State::File { mode: m1, .. }, State::File { mode: m2, .. })
            if theirs.holds_same(ours) =>
        {
            keep(modes(*m1, *m2))
        }
        (_, State::Dir { mode: m1 }, State::Dir { mode: m2 }) => keep(modes(*m1, *m2)),
        (State::Absent, theirs, ours) => {
            keep(format!("both made it: {} in the workspace, {} here", theirs.kind(), ours.kind()))
        }
        (_, State::Absent, _) => keep("deleted in the workspace, changed here".to_owned()),
        (_, _, State::Absent) => keep("changed in the workspace, deleted here".to_owned()),
        (_, theirs, ours) if theirs.kind() == ours.kind() => keep("both changed it".to_owned()),
        (_, theirs, ours) => keep(format!(
            "both changed it: {} in the workspace, {} here",
            theirs.kind(),
            ours.kind()
        )),
    }
}

fn pick_mode(base: Mode, theirs: Mode, ours: Mode) -> Option<Mode> {
    match () {
        () if theirs == base || theirs == ours => Some(ours),
        () if ours == base => Some(theirs),
        () => None,
    }
}

fn modes(theirs: Mode, ours: Mode) -> String {
    let (theirs, ours) = (theirs.bits(), ours.bits());
    format!("both changed its mode: {theirs:o} in the workspace, {ours:o} here, which stays")
}

/// Names that are tried beside a path.
pub const NAMES: u32 = 1000;

/// The name beside `path` under which the workspace's side of a conflict is written.
pub fn beside(path: &TreePath, number: u32) -> Option<TreePath> {
    let (parent, name) = path.split_last()?;
    let suffix = match number {
        0 => ".pyro-theirs".to_owned(),
        number => format!(".pyro-theirs-{number}"),
    };
    let room = MAX_NAME - suffix.len();
    let kept = &name.as_bytes()[..name.as_bytes().len().min(room)];
    let name = EntryName::parse(&[kept, suffix.as_bytes()].concat()).ok()?;
    Some(parent.join(&name))
}
