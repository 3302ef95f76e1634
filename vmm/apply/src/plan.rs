//! What is to be done, path by path, and what is not.

use std::collections::{BTreeMap, HashMap};

use pyro_format::{Delta, FileId, Mode, RootNode, TreePath};
use pyro_store::{CheckoutItem, Store};
use serde::{Deserialize, Serialize};

use crate::dot_git::repository;
use crate::error::Result;
use crate::host::{Found, Host};
use crate::merge::Sides;
use crate::perform::places;
use crate::pick::{Picked, pick};
use crate::settle;
use crate::state::State;

/// What is done about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is made.
    Create,
    /// It becomes what the workspace has.
    Replace,
    /// Both sides' changes are put together.
    Merge,
    /// Only its permissions change.
    Mode,
    /// It is removed.
    Delete,
    /// Nothing: it is so already.
    Same,
    /// Nothing: a directory that is gone there holds something else here.
    Keep,
    /// Nothing: it is for a person to decide.
    Conflict,
    /// Nothing, here and below: git may take it for a repository.
    Refused,
}

/// One path of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Where.
    pub path: TreePath,
    /// What is done.
    pub action: Action,
    /// Why nothing is done, or not all of it; for people.
    pub reason: Option<String>,
    /// Where the workspace's side of a conflict is written.
    pub beside: Option<TreePath>,
    /// Bytes that are written.
    pub size: u64,
}

/// How conflicts are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Write the workspace's side of a conflict beside the host's.
    pub beside: bool,
}

/// One change of the host directory: a path that holds `was` is to hold `now`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub path: TreePath,
    pub was: State,
    pub now: State,
    /// The new content is merged of these and the host's; otherwise the store has it.
    pub merged: Option<Sides>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every path that differs between base and theirs, sorted, but for what is below a refused one;
    /// and directories that are made again.
    pub entries: Vec<Planned>,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// Bytes that are written.
    pub fn bytes(&self) -> u64 {
        self.steps.iter().filter(|step| places(step)).map(|step| step.now.size()).sum()
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Plans how `changes`, which make `theirs` of its base, come into the host directory. Reads each
/// changed path there, and nothing else; changes nothing.
pub fn plan(
    store: &Store,
    changes: &[Delta],
    theirs: &RootNode,
    host: &Host,
    options: Options,
) -> Result<Plan> {
    let mut draft =
        Draft { store, theirs, host, drafted: BTreeMap::new(), original: HashMap::new() };
    let mut refused: BTreeMap<TreePath, u64> = BTreeMap::new();
    for change in changes {
        if let Some(repository) = repository(&change.path) {
            *refused.entry(repository).or_default() += 1;
        } else {
            let drafted = draft.one(change)?;
            draft.drafted.insert(change.path.clone(), drafted);
        }
    }
    for (path, count) in refused {
        draft.drafted.insert(path, Drafted::refused(count));
    }
    if host.folds_case()? {
        settle::twins(&mut draft);
    }
    settle::emptied(&mut draft)?;
    if options.beside {
        settle::beside(&mut draft)?;
    }
    settle::parents(&mut draft)?;
    Ok(draft.finish())
}

/// What is to become of one path.
pub(crate) struct Drafted {
    pub was: State,
    pub now: State,
    pub merged: Option<Sides>,
    pub theirs: State,
    pub action: Action,
    pub reason: Option<String>,
    /// The thing that is in the way, if it is not at the path itself.
    pub blocked_at: Option<TreePath>,
    pub beside: Option<TreePath>,
    /// A path that is not among the changes, and not told of.
    pub silent: bool,
}

impl Drafted {
    /// A path that holds nothing is to hold `now`.
    pub fn new(theirs: State, now: State, action: Action) -> Self {
        Self {
            was: State::Absent,
            now,
            merged: None,
            theirs,
            action,
            reason: None,
            blocked_at: None,
            beside: None,
            silent: false,
        }
    }

    fn refused(count: u64) -> Self {
        let changes = if count == 1 { "change" } else { "changes" };
        let reason = format!("git may take it for a repository ({count} {changes})");
        let refused = Self::new(State::Absent, State::Absent, Action::Refused);
        Self { reason: Some(reason), ..refused }
    }

    /// Whether something is at the path afterwards, if something is there before.
    pub fn stays(&self) -> bool {
        self.now != State::Absent || matches!(self.action, Action::Refused | Action::Conflict)
    }

    /// Leaves the path as it is.
    pub fn undecided(&mut self, action: Action, reason: impl Into<String>) {
        self.action = action;
        self.now = self.was.clone();
        self.merged = None;
        self.reason = Some(reason.into());
    }
}

/// A plan in the making.
pub(crate) struct Draft<'a> {
    pub store: &'a Store,
    pub theirs: &'a RootNode,
    pub host: &'a Host,
    pub drafted: BTreeMap<TreePath, Drafted>,
    /// Of paths that are written beside others: where the workspace has them.
    pub original: HashMap<TreePath, TreePath>,
}

impl Draft<'_> {
    fn one(&self, change: &Delta) -> Result<Drafted> {
        let (base, theirs) = (State::of(change.old.as_ref()), State::of(change.new.as_ref()));
        let mut drafted = Drafted::new(theirs.clone(), State::Absent, Action::Same);
        let ours = match self.host.look(&change.path)? {
            Found::State(state) => state,
            // What is in the way now makes room.
            Found::Blocked { at, .. } if self.drafted.get(&at).is_some_and(|d| d.now.is_dir()) => {
                State::Absent
            }
            // What is gone there is not here either.
            Found::Blocked { at, .. } if theirs == State::Absent && at != change.path => {
                return Ok(drafted);
            }
            Found::Blocked { at, what } => {
                let what = if at == change.path { what } else { format!("{at}: {what}") };
                drafted.undecided(Action::Conflict, what);
                drafted.blocked_at = Some(at);
                return Ok(drafted);
            }
        };
        let picked = pick(&base, &theirs, &ours, |sides| {
            let merged = sides.merge(self.store, self.host, &change.path)?;
            let file = |bytes: Vec<u8>| State::File {
                mode: Mode::new(0),
                size: bytes.len() as u64,
                content: FileId::of(&bytes),
            };
            Ok(merged.map(file))
        })?;
        let Picked { now, merged, conflict } = picked;
        drafted.action = match (&ours, &now) {
            _ if conflict.is_some() => Action::Conflict,
            (was, now) if was == now => Action::Same,
            _ if merged.is_some() => Action::Merge,
            (State::Absent, _) => Action::Create,
            (_, State::Absent) => Action::Delete,
            (was, now) if was.holds_same(now) => Action::Mode,
            _ => Action::Replace,
        };
        Ok(Drafted { was: ours, now, merged, reason: conflict, ..drafted })
    }

    /// What the workspace has at a path.
    pub fn theirs_at(&self, path: &TreePath) -> Result<State> {
        match self.store.resolve(&CheckoutItem::root(self.theirs, None), path) {
            Ok(CheckoutItem { node, .. }) => Ok(State::of(Some(&node))),
            Err(pyro_store::Error::NoEntry(_) | pyro_store::Error::WrongKind { .. }) => {
                Ok(State::Absent)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn finish(self) -> Plan {
        let mut entries = Vec::with_capacity(self.drafted.len());
        let mut steps = Vec::new();
        for (path, drafted) in self.drafted {
            let Drafted { was, now, merged, action, reason, beside, .. } = drafted;
            let size = match action {
                Action::Create | Action::Replace | Action::Merge => now.size(),
                _ => 0,
            };
            if !drafted.silent {
                entries.push(Planned { path: path.clone(), action, reason, beside, size });
            }
            if was != now {
                push_steps(&mut steps, Step { path, was, now, merged });
            }
        }
        steps.sort_by(|a, b| {
            order(a).cmp(&order(b)).then_with(|| match order(a) {
                // What is in a directory goes before it.
                Order::RemoveDirs | Order::Close => b.path.cmp(&a.path),
                _ => a.path.cmp(&b.path),
            })
        });
        Plan { entries, steps }
    }
}

/// A directory and something else take turns by way of nothing; a directory that its owner may not
/// write to is closed when it is full.
fn push_steps(steps: &mut Vec<Step>, step: Step) {
    let Step { path, mut was, now, merged } = step;
    let turn = was.is_dir() && now.is_leaf() || was.is_leaf() && now.is_dir();
    let open = match now {
        State::Dir { mode } if !was.is_dir() => Some(Mode::new(mode.bits() | 0o700)),
        _ => None,
    };
    let open = open.map(|mode| State::Dir { mode }).filter(|open| *open != now);
    for now in turn.then_some(State::Absent).into_iter().chain(open).chain([now]) {
        let was = std::mem::replace(&mut was, now.clone());
        steps.push(Step { path: path.clone(), was, now, merged });
    }
}

/// In which order steps are taken; undone in the reverse.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// Directories get rights.
    Open,
    Remove,
    RemoveDirs,
    MakeDirs,
    Place,
    /// Directories lose rights.
    Close,
}

fn order(step: &Step) -> Order {
    match (&step.was, &step.now) {
        (State::Dir { .. }, State::Dir { mode }) if mode.bits() & 0o300 == 0o300 => Order::Open,
        (State::Dir { .. }, State::Dir { .. }) => Order::Close,
        (State::Dir { .. }, _) => Order::RemoveDirs,
        (_, State::Dir { .. }) => Order::MakeDirs,
        (_, State::Absent) => Order::Remove,
        _ => Order::Place,
    }
}
