//! A workspace as of one moment: its tree, how it differs from the baseline, and the content.
//!
//! ```text
//! busy?  report ─▶ fetch                 most of what is new, while commands go on
//! freeze ─▶ report ─▶ fetch ─▶ thaw      the rest, of one moment
//! ```
//!
//! What was captured whole needs its guest no more: it is pinned under its tree id.

use pyro_api::{ReportStats, SkippedEntry};
use pyro_format::{Delta, Node, RootId, TreePath, escape};

use super::diff::deltas;
use super::merge::{Merged, ReportedFile};
use super::moment::Stillness;
use super::nodes::{MergedNodes, StoredNodes, store_nodes};
use super::patch::LARGEST;
use super::record::{Record, StoredTree};
use super::{Workspace, report};
use crate::error::{Error, Result};
use crate::events::{Events, blocking};

/// Times a capture starts over because something did not stand still.
const TRIES: usize = 3;
/// The name of the tree that a workspace was made from.
pub const BASELINE: &str = "baseline";

/// Whose content comes along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// That of every file that differs from the baseline.
    All,
    /// That of files at these paths or below them.
    Below(Vec<TreePath>),
    /// That of files which a text patch may show.
    Patchable,
    /// None.
    None,
}

/// How to look at a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Have the guest look at every file.
    pub full: bool,
    /// Have commands stand still meanwhile.
    pub freeze: bool,
    /// Whose content comes along.
    pub content: Content,
}

/// A tree of `/workspace` beside the baseline, its nodes stored.
pub struct Captured {
    /// The tree.
    pub tree: StoredTree,
    /// Every difference from the baseline, sorted by path.
    pub deltas: Vec<Delta>,
    /// What no tree can hold.
    pub skipped: Vec<SkippedEntry>,
    /// What it cost.
    pub stats: ReportStats,
    /// Files among those wanted that never stood still: their content is not what the tree says.
    pub unsteady: Vec<TreePath>,
    /// The store holds the whole tree.
    pub whole: bool,
}

impl Captured {
    /// This, unless something never stood still.
    pub fn steady(self) -> Result<Self> {
        if self.unsteady.is_empty() { Ok(self) } else { Err(Error::Unsteady(self.unsteady)) }
    }
}

impl Workspace {
    /// A tree that is known by a name, or `/workspace` as it is now, with this content.
    pub async fn obtain(
        &self,
        name: Option<&str>,
        content: Content,
        freeze: bool,
        events: &Events,
    ) -> Result<Captured> {
        match name {
            Some(name) => self.named(name, &content).await,
            None => {
                let _in_use = self.in_use().await?;
                let how = Capture { full: false, freeze, content };
                self.capture(&how, events).await?.steady()
            }
        }
    }

    /// Looks at `/workspace` as it is now.
    pub async fn capture(&self, how: &Capture, events: &Events) -> Result<Captured> {
        let (mut paused_us, mut fetched) = (0, 0);
        let (mut tries, mut ahead) = (0, false);
        loop {
            events.progress("compare", "", 0, None);
            let still = if how.freeze { self.stand_still(how.full).await? } else { None };
            let busy = still.as_ref().is_some_and(|still| still.busy);
            if busy && !ahead && how.content != Content::None {
                // Commands stand still for what changes from here on, not for all of it.
                if let Some(still) = still {
                    paused_us += still.end().await?.paused_us;
                }
                let (_, deltas, _) = self.look(false).await?;
                events.progress("fetch", "", 0, None);
                fetched += self.fetch(how.content.wanted(&deltas), &deltas).await?.bytes;
                ahead = true;
                continue;
            }
            tries += 1;
            let (merged, deltas, mut stats) = self.look(how.full).await?;
            events.progress("fetch", "", 0, None);
            let outcome = self.fetch(how.content.wanted(&deltas), &deltas).await?;
            let stillness = match still {
                Some(still) => still.end().await?,
                None => Stillness::default(),
            };
            paused_us += stillness.paused_us;
            fetched += outcome.bytes;
            let moved = busy && !stillness.frozen || !outcome.unsteady.is_empty();
            if moved && tries < TRIES {
                continue;
            }
            stats.fetched_bytes = fetched;
            stats.frozen = stillness.frozen;
            stats.paused_us = paused_us;
            let whole = how.content.is_all() && outcome.unsteady.is_empty();
            let skipped = report::skipped(&merged);
            let (tree, whole) = self.remember(merged, whole).await?;
            return Ok(Captured {
                tree,
                deltas,
                skipped,
                stats,
                unsteady: outcome.unsteady,
                whole,
            });
        }
    }

    /// The tree now and how it differs from the baseline.
    async fn look(&self, full: bool) -> Result<(Merged, Vec<Delta>, ReportStats)> {
        let (merged, stats) = self.current_tree(full).await?;
        let (store, baseline) = (self.store.clone(), self.record().baseline_tree.root);
        blocking(move |_| {
            let now = merged.tree.root;
            let deltas = deltas(&MergedNodes::new(&store, &merged), &baseline, &now)?;
            Ok((merged, deltas, stats))
        })
        .await
    }

    /// Stores the nodes of a tree that is about to be shown, so that others can name it. The tree,
    /// and whether the store holds all of it, from now on or from an earlier look.
    async fn remember(&self, merged: Merged, whole: bool) -> Result<(StoredTree, bool)> {
        let store = self.store.clone();
        let tree = blocking(move |_| {
            // Nodes that are there already cost a look each. That the root is there tells nothing of
            // the times: the same change may have been made before, at another time.
            let mut writer = store.writer()?;
            store_nodes(&mut writer, &merged)?;
            writer.commit()?;
            Ok(StoredTree::from(merged.tree))
        });
        let tree = tree.await?;
        let whole = self.update(|record| record.review(tree, whole))?;
        Ok((tree, whole))
    }

    /// A tree that is known by a name: `baseline`, a snapshot's name, or the id of a tree that was
    /// shown. Content that the host has not got of it yet comes from the guest.
    pub async fn named(&self, name: &str, content: &Content) -> Result<Captured> {
        // Once for all of it: a second guard would wait for a writer that waits for the first.
        let _present = self.present().await?;
        let (tree, whole) = find(&self.record(), name)?;
        let (store, baseline) = (self.store.clone(), self.record().baseline_tree.root);
        let root = tree.root;
        let deltas = blocking(move |_| Ok(deltas(&StoredNodes(&store), &baseline, &root)?)).await?;
        let mut stats = ReportStats::default();
        let wanted = if whole { Vec::new() } else { content.wanted(&deltas) };
        if !wanted.is_empty() {
            self.refuse_stopped()?;
            let outcome = self.fetch(wanted, &deltas).await?;
            if !outcome.unsteady.is_empty() {
                let wanted = tree.id.to_string();
                return Err(Error::TreeChanged { wanted, changed: outcome.unsteady });
            }
            stats.fetched_bytes = outcome.bytes;
        }
        let whole = whole || content.is_all() && self.update(|record| record.review(tree, true))?;
        let (skipped, unsteady) = (Vec::new(), Vec::new());
        Ok(Captured { tree, deltas, skipped, stats, unsteady, whole })
    }
}

impl Content {
    fn is_all(&self) -> bool {
        match self {
            Self::All => true,
            Self::Below(tops) => tops.iter().any(TreePath::is_root),
            Self::Patchable | Self::None => false,
        }
    }

    /// The files among these differences whose content comes along.
    fn wanted(&self, deltas: &[Delta]) -> Vec<ReportedFile> {
        let wants = |delta: &Delta, size: u64| match self {
            Self::All => true,
            Self::Below(tops) => tops.iter().any(|top| delta.path.starts_with(top)),
            Self::Patchable => {
                size <= LARGEST
                    && !matches!(delta.old, Some(Node::File { size, .. }) if size > LARGEST)
            }
            Self::None => false,
        };
        let file = |delta: &Delta| match delta.new {
            Some(Node::File { size, content, .. }) if wants(delta, size) => {
                Some(ReportedFile { path: delta.path.clone(), size, content })
            }
            _ => None,
        };
        deltas.iter().filter_map(file).collect()
    }
}

/// The tree of this name, and whether the store holds all of it.
fn find(record: &Record, name: &str) -> Result<(StoredTree, bool)> {
    if name == BASELINE {
        return Ok((record.baseline_tree, true));
    }
    if let Some(snapshot) = record.snapshots.get(name) {
        return Ok((snapshot.tree, true));
    }
    let Ok(id) = name.parse::<RootId>() else {
        return Err(Error::UnknownSnapshot {
            workspace: record.id.clone(),
            name: escape(name.as_bytes()),
        });
    };
    let whole = record.whole_trees().find(|tree| tree.id == id).map(|tree| (tree, true));
    let shown = || record.reviewed.iter().find(|shown| shown.tree.id == id);
    let found = whole.or_else(|| shown().map(|shown| (shown.tree, false)));
    found.ok_or_else(|| Error::TreeChanged { wanted: id.to_string(), changed: Vec::new() })
}
