//! Copying a host directory, archive or file into `/workspace`: through the store, all or nothing.
//!
//! ```text
//! source ─ingest─▶ store ─offer─▶ guest stages outside /workspace ─ Staged ─▶ CommitPush ─▶ Done
//!                                    hang-up or failure before: undone
//! ```

use std::sync::Arc;

use pyro_api::{SkippedEntry, SyncPush, SyncPushReply};
use pyro_format::{Entry, EntryName, Mode, RootNode, TimesEntry, TimesNode, Tree, escape};
use pyro_proto::{Call, PushItem, Reply};
use pyro_store::{IngestOptions, IngestSource, Pin, Root, Store};

use super::merge::TimedTree;
use super::{Workspace, path};
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, blocking};
use crate::guest::link::{Conversation, GuestError};
use crate::seed;

/// A source in the store.
struct Stored {
    /// Keeps the tree until the guest has it.
    _pin: Arc<Pin>,
    tree: TimedTree,
    item: PushItem,
    entry_count: u64,
    bytes: u64,
    skipped: Vec<SkippedEntry>,
    warnings: Vec<String>,
}

impl Workspace {
    /// Pushes a source into `/workspace`.
    pub async fn push(&self, call: &SyncPush, events: &Events) -> Result<SyncPushReply> {
        let dest_text = call.dest.as_ref().map_or(&b"."[..], |dest| &dest.0);
        let dest = path::parse(dest_text)?;
        let into = dest.is_root() || dest_text.ends_with(b"/");
        let _in_use = self.in_use().await?;
        let _hold = self.store.hold();
        let stored = self.store_source(call, into, events).await?;

        let id = self.update(|record| {
            record.next_push += 1;
            record.next_push - 1
        })?;
        events.progress("send", "", 0, None);
        let _offer = self.content.offer(id, stored.tree);
        let stage = Call::StagePush { id, dest: dest.clone(), item: stored.item };
        let mut conversation = Conversation::open(&self.machine, &stage).await?;
        let (changed_count, bytes_sent) = match conversation.next_whenever().await? {
            Reply::Staged { entries, fetched_bytes } => (entries, fetched_bytes),
            _ => return Err(GuestError::Unexpected.into()),
        };
        events.progress("commit", "", 0, None);
        let _alone = self.moment.lock().await;
        conversation.say(&Call::CommitPush).await?;
        conversation.done().await?;
        self.update(|record| record.account(stored.tree.root.id()))?;
        Ok(SyncPushReply {
            workspace_id: self.id(),
            source_path: call.source_path.clone(),
            destination: escape(&path::absolute(&dest)),
            entry_count: stored.entry_count,
            changed_count,
            bytes_written: stored.bytes,
            bytes_sent,
            skipped: stored.skipped,
            warnings: stored.warnings,
            execution_mode: self.record().backend.name().to_owned(),
        })
    }

    async fn store_source(&self, call: &SyncPush, into: bool, events: &Events) -> Result<Stored> {
        let source = seed::absolute(&call.source_path, "source path")?;
        let options = IngestOptions { unrecorded: true, ..seed::options(&call.seed) };
        let (store, events) = (self.store.clone(), events.clone());
        blocking(move |cancelled| {
            let progress = StoreProgress::new(&events, "read", cancelled);
            if seed::is_single(&source)? {
                let name = source.file_name().map(|name| name.as_encoded_bytes().to_vec());
                let name = name.and_then(|name| EntryName::parse(&name).ok());
                let name = name.ok_or_else(|| Error::Invalid(format!("{source:?} has no name")))?;
                let single = store.ingest_single(&source, &options, &progress)?;
                let bytes = super::entries::size(&single.node).unwrap_or(0);
                let tree =
                    single_tree(&store, Entry::new(name.clone(), single.node), single.mtime)?;
                let changing = single.changing.then(|| seed::changing(&name.to_string()));
                return Ok(Stored {
                    _pin: pin(&store, &tree),
                    tree,
                    item: PushItem::File { name, into },
                    entry_count: 1,
                    bytes,
                    skipped: Vec::new(),
                    warnings: changing.into_iter().collect(),
                });
            }
            let source = IngestSource::detect(&source)?;
            let report = store.ingest(&source, &options, &progress)?;
            let root = store.get_root(report.root)?;
            Ok(Stored {
                _pin: report.pin.clone(),
                tree: TimedTree { root, times: report.key.times, mtime: report.key.mtime },
                item: PushItem::Directory { mode: root.mode },
                entry_count: report.entry_count,
                bytes: report.bytes_total,
                skipped: seed::skipped(&report),
                warnings: seed::warnings(&report),
            })
        })
        .await
    }
}

/// Keeps the tree until the guest has it.
fn pin(store: &Store, tree: &TimedTree) -> Arc<Pin> {
    Arc::new(store.pin(Root { root: tree.root.id(), times: Some(tree.times) }))
}

/// A tree whose only entry is this one.
fn single_tree(store: &Store, entry: Entry, mtime: pyro_format::Mtime) -> Result<TimedTree> {
    let mut writer = store.writer()?;
    let tree = Tree::new(vec![entry]).expect("one entry has one name");
    let root = RootNode { mode: Mode::new(0o755), tree: writer.put_tree(&tree)? };
    let entries = vec![TimesEntry { mtime, children: None }];
    let times = writer.put_times(&TimesNode { entries })?;
    writer.put_root(&root)?;
    writer.commit()?;
    Ok(TimedTree { root, times, mtime })
}
