//! What one path's choice means for others: directories that are not empty, directories that are
//! needed, names beside conflicts.

use std::collections::{HashMap, HashSet};

use pyro_format::{Mode, TreePath};

use crate::error::{Error, Result};
use crate::host::Found;
use crate::pick::{NAMES, beside as name_beside};
use crate::plan::{Action, Draft, Drafted};
use crate::state::State;

const NEW_DIR: Mode = Mode::new(0o755);

/// Of names that the host cannot tell apart only the first is made, with what is below it; and a name
/// is not removed if that would remove another.
pub fn twins(draft: &mut Draft<'_>) {
    const REASON: &str = "another name differs only in case, which is one name here";
    let fold = |path: &TreePath| String::from_utf8_lossy(path.as_bytes()).to_lowercase();
    let there = |drafted: &Drafted| drafted.theirs != State::Absent;
    let kept = draft.drafted.iter().filter(|(_, drafted)| there(drafted));
    let kept: HashSet<String> = kept.map(|(path, _)| fold(path)).collect();
    let (mut seen, mut refused) = (HashSet::new(), HashSet::new());
    for (path, drafted) in &mut draft.drafted {
        let above = path.ancestors().find(|at| refused.contains(at));
        let twin = match there(drafted) {
            true => !seen.insert(fold(path)),
            false => kept.contains(&fold(path)),
        };
        if above.is_none() && !twin || drafted.was == drafted.now {
            continue;
        }
        drafted.undecided(Action::Conflict, REASON);
        drafted.blocked_at = above;
        refused.insert(path.clone());
    }
}

/// Directories stay in which something stays.
pub fn emptied(draft: &mut Draft<'_>) -> Result<()> {
    let goes = |drafted: &Drafted| drafted.was.is_dir() && !drafted.now.is_dir();
    let going = draft.drafted.iter().filter(|(_, drafted)| goes(drafted));
    let going: Vec<TreePath> = going.map(|(path, _)| path.clone()).collect();
    for path in going.into_iter().rev() {
        let stays = draft
            .host
            .list(&path)?
            .into_iter()
            .find(|name| draft.drafted.get(&path.join(name)).is_none_or(Drafted::stays));
        let (Some(stays), Some(drafted)) = (stays, draft.drafted.get_mut(&path)) else { continue };
        match drafted.theirs {
            State::Absent => drafted.undecided(Action::Keep, format!("it holds '{stays}' here")),
            _ => {
                let reason = format!("a directory here, which holds '{stays}'");
                drafted.undecided(Action::Conflict, reason);
            }
        }
    }
    Ok(())
}

/// The workspace's side of each conflict gets a name beside the host's.
pub fn beside(draft: &mut Draft<'_>) -> Result<()> {
    let lost = |drafted: &Drafted| {
        let apart = match drafted.theirs {
            State::Absent => false,
            State::Dir { .. } => drafted.blocked_at.is_some() || drafted.was.is_leaf(),
            _ => drafted.merged.is_none() && !drafted.now.holds_same(&drafted.theirs),
        };
        drafted.action == Action::Conflict && apart
    };
    let conflicts = draft.drafted.iter().filter(|(_, drafted)| lost(drafted));
    let conflicts: Vec<TreePath> = conflicts.map(|(path, _)| path.clone()).collect();
    let mut names: HashMap<TreePath, TreePath> = HashMap::new();
    for path in conflicts {
        let Some(drafted) = draft.drafted.get(&path) else { continue };
        let theirs = drafted.theirs.clone();
        let at = drafted.blocked_at.clone().unwrap_or_else(|| path.clone());
        let new_at = match names.get(&at) {
            Some(name) => name.clone(),
            None => free(draft, &at, (at == path).then_some(&theirs))?,
        };
        let rest = &path.as_bytes()[at.as_bytes().len()..];
        let Ok(new) = TreePath::parse(&[new_at.as_bytes(), rest].concat()) else { continue };
        draft.original.insert(new_at.clone(), at.clone());
        names.insert(at, new_at);
        let there = draft.host.look(&new)? == Found::State(theirs.clone());
        draft.original.insert(new.clone(), path.clone());
        if let Some(drafted) = draft.drafted.get_mut(&path) {
            drafted.beside = Some(new.clone());
        }
        if !there {
            draft.drafted.insert(new, made(theirs, true));
        }
    }
    Ok(())
}

/// A name beside `at` that nothing has, or that has just this.
fn free(draft: &Draft<'_>, at: &TreePath, theirs: Option<&State>) -> Result<TreePath> {
    for number in 0..NAMES {
        let Some(name) = name_beside(at, number) else { break };
        let taken = draft.drafted.contains_key(&name);
        match draft.host.look(&name)? {
            Found::State(State::Absent) if !taken => return Ok(name),
            Found::State(state) if !taken && state.is_leaf() && Some(&state) == theirs => {
                return Ok(name);
            }
            _ => {}
        }
    }
    let full = std::io::Error::other("every name beside it is taken");
    Err(Error::io("write beside", draft.host.absolute(at))(full))
}

/// Directories above what is made are made, too, if they are not there any more.
pub fn parents(draft: &mut Draft<'_>) -> Result<()> {
    let made_paths = draft.drafted.iter().filter(|(_, d)| d.was == State::Absent && d.now != d.was);
    let made_paths: Vec<TreePath> = made_paths.map(|(path, _)| path.clone()).collect();
    let mut known = HashSet::new();
    for path in made_paths {
        let unsure: Vec<TreePath> = path.ancestors().take_while(|at| !known.contains(at)).collect();
        for at in unsure.into_iter().rev() {
            let there = match draft.drafted.get(&at) {
                Some(drafted) => drafted.now.clone(),
                None => match draft.host.look(&at)? {
                    Found::State(state) => state,
                    Found::Blocked { .. } => return Err(Error::Changed(draft.host.absolute(&at))),
                },
            };
            match there {
                State::Dir { .. } => {}
                State::Absent => {
                    let original = draft.original.get(&at);
                    let silent = original.is_some();
                    let now = match draft.theirs_at(original.unwrap_or(&at))? {
                        State::Dir { mode } => State::Dir { mode },
                        _ => State::Dir { mode: NEW_DIR },
                    };
                    draft.drafted.insert(at.clone(), made(now, silent));
                }
                _ => return Err(Error::Changed(draft.host.absolute(&at))),
            }
            known.insert(at);
        }
    }
    Ok(())
}

fn made(now: State, silent: bool) -> Drafted {
    Drafted { silent, ..Drafted::new(now.clone(), now, Action::Create) }
}
