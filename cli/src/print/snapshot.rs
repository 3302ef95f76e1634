//! Snapshots.

use pyro_api::{SnapshotCreateReply, SnapshotDeleteReply, SnapshotInfo, SnapshotListReply};

use super::{count, shown, size, table};

/// `pyro workspace snapshot create`
pub fn created(reply: &SnapshotCreateReply) -> String {
    let snapshot = &reply.snapshot;
    format!(
        "snapshot {} of {}: {}, {} fetched from the guest\ntree {}\n",
        shown(&snapshot.name),
        shown(&reply.workspace_id),
        count(snapshot.changed_count, "change", "changes"),
        size(reply.bytes_fetched),
        shown(&snapshot.tree),
    )
}

/// `pyro workspace snapshot list`
pub fn list(reply: &SnapshotListReply) -> String {
    let head = ["SNAPSHOT", "CHANGES", "CREATED", "TREE"].map(String::from).to_vec();
    let row = |snapshot: &SnapshotInfo| {
        vec![
            shown(&snapshot.name),
            snapshot.changed_count.to_string(),
            snapshot.created_at.clone(),
            shown(&snapshot.tree),
        ]
    };
    table([head].into_iter().chain(reply.snapshots.iter().map(row)).collect())
}

/// `pyro workspace snapshot delete`
pub fn deleted(reply: &SnapshotDeleteReply) -> String {
    format!("deleted snapshot {} of {}\n", shown(&reply.name), shown(&reply.workspace_id))
}
