//! Pushes: merged, all or nothing, also across a crash.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pyro_format::{Mode, TreePath};
use pyro_proto::{Call, ErrorKind, PushId, PushItem, Reply, Source};

use crate::host::{Item, parse};
use crate::model::Shape;
use crate::world::{Connection, World, with_world};

fn baseline() -> Item {
    Item::dir([
        ("keep", Item::file(b"kept")),
        ("same", Item::file(b"same")),
        ("old", Item::file(b"old")),
        ("dir", Item::dir([("inner", Item::file(b"inner"))])),
        ("link", Item::link("dir")),
    ])
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

fn stage<'a>(
    world: &'a World,
    id: PushId,
    tree: Item,
    dest: &str,
    item: PushItem,
) -> (Connection<'a>, Reply) {
    world.host.trees.lock().unwrap().insert(Source::Push(id), tree);
    let mut connection = world.connect();
    connection.send(&Call::StagePush { id, dest: path(dest), item });
    let reply = connection.next().unwrap();
    (connection, reply)
}

fn push(world: &World, tree: Item, dest: &str, item: PushItem) -> Reply {
    let (mut connection, reply) = stage(world, 1, tree, dest, item);
    if let Reply::Error(error) = reply {
        return Reply::Error(error);
    }
    connection.send(&Call::CommitPush);
    let reply = connection.next().unwrap();
    assert!(fs::read_dir(world.upper.join("stage")).unwrap().next().is_none(), "stage not empty");
    reply
}

fn directory() -> PushItem {
    PushItem::Directory { mode: Mode::new(0o750) }
}

fn conflict(reply: Reply) -> String {
    match reply {
        Reply::Error(error) if error.kind == ErrorKind::Conflict => error.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_merges_and_what_is_equal_is_left_alone() {
    with_world(baseline(), |world| {
        let tree = Item::dir([
            ("same", Item::file(b"same")),
            ("old", Item::file(b"new")),
            ("dir", Item::dir([("more", Item::link("x"))])),
            ("fresh", Item::dir([("deep", Item::dir([("f", Item::file(&[7; 3_000_000]))]))])),
        ]);
        let (mut connection, reply) = stage(&world, 1, tree.clone(), "", directory());
        assert_eq!(reply, Reply::Staged { entries: 5, fetched_bytes: 3_000_003 });
        assert_eq!(fs::read(world.top.join("old")).unwrap(), b"old", "changed before the commit");
        connection.send(&Call::CommitPush);
        assert_eq!(connection.next(), Some(Reply::Done));

        let Shape::Dir { entries, .. } = world.tree() else { panic!() };
        let Shape::Dir { entries: pushed, .. } = Shape::of(&tree) else { panic!() };
        assert_eq!(entries[&parse("fresh")], pushed[&parse("fresh")], "content, modes or times");
        assert_eq!(entries[&parse("old")], pushed[&parse("old")]);
        assert_eq!(fs::read(world.top.join("dir/inner")).unwrap(), b"inner");
        assert_eq!(fs::read(world.top.join("keep")).unwrap(), b"kept");
        assert!(!world.upper.join("ws/same").exists(), "an equal file was written");
    });
}

#[test]
fn a_file_becomes_its_destination_or_goes_into_it() {
    with_world(baseline(), |world| {
        let file = |into| PushItem::File { name: parse("f"), into };
        let tree = || Item::dir([("f", Item::file(b"pushed"))]);
        let read = |at: &str| fs::read(world.top.join(at)).unwrap();
        assert_eq!(push(&world, tree(), "dir", file(false)), Reply::Done);
        assert_eq!(read("dir/f"), b"pushed");
        assert_eq!(push(&world, tree(), "old", file(false)), Reply::Done);
        assert_eq!(read("old"), b"pushed");
        assert_eq!(push(&world, tree(), "n/e/w", file(false)), Reply::Done);
        assert_eq!(read("n/e/w"), b"pushed");
        assert_eq!(push(&world, tree(), "x/y", file(true)), Reply::Done);
        assert_eq!(read("x/y/f"), b"pushed");
        let mode = fs::metadata(world.top.join("x")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        world.tree();
    });
}

#[test]
fn a_missing_destination_gets_the_given_mode() {
    with_world(baseline(), |world| {
        let tree = Item::dir([("f", Item::file(b"1"))]);
        assert_eq!(push(&world, tree, "a/b", directory()), Reply::Done);
        let mode = |at: &str| fs::metadata(world.top.join(at)).unwrap().permissions().mode();
        assert_eq!((mode("a") & 0o7777, mode("a/b") & 0o7777), (0o755, 0o750));
        assert_eq!(fs::read(world.top.join("a/b/f")).unwrap(), b"1");
    });
}

#[test]
fn links_in_the_way_and_full_directories_are_conflicts() {
    with_world(baseline(), |world| {
        let tree = || Item::dir([("f", Item::file(b"1"))]);
        assert!(conflict(push(&world, tree(), "link/x", directory())).contains("'link'"));
        assert!(conflict(push(&world, tree(), "link", directory())).contains("'link'"));
        assert!(conflict(push(&world, tree(), "keep/x", directory())).contains("'keep'"));
        let over = Item::dir([("keep", Item::file(b"2")), ("dir", Item::file(b"3"))]);
        assert!(conflict(push(&world, over, "", directory())).contains("'dir'"));
        assert_eq!(world.tree(), world.lower);
    });
}

#[test]
fn directories_replace_files_and_modes_alone_are_changed_in_place() {
    with_world(baseline(), |world| {
        let mode = |mut item: Item, bits| {
            if let Item::File { mode, .. } | Item::Dir { mode, .. } = &mut item {
                *mode = bits;
            }
            item
        };
        let tree = Item::dir([
            ("old", Item::dir([("f", Item::file(b"1"))])),
            ("keep", mode(Item::file(b"kept"), 0o600)),
            ("dir", mode(Item::dir([]), 0o700)),
            ("link", Item::file(b"no link")),
        ]);
        assert_eq!(push(&world, tree, "", directory()), Reply::Done);
        assert_eq!(fs::read(world.top.join("old/f")).unwrap(), b"1");
        assert_eq!(fs::read(world.top.join("dir/inner")).unwrap(), b"inner");
        assert_eq!(fs::read(world.top.join("link")).unwrap(), b"no link");
        let mode = |at: &str| fs::metadata(world.top.join(at)).unwrap().permissions().mode();
        assert_eq!((mode("keep") & 0o7777, mode("dir") & 0o7777), (0o600, 0o700));
        world.tree();
    });
}

#[test]
fn one_push_at_a_time_and_hanging_up_undoes_it() {
    with_world(baseline(), |world| {
        let tree = || Item::dir([("f", Item::file(b"1"))]);
        let (connection, reply) = stage(&world, 1, tree(), "", directory());
        assert!(matches!(reply, Reply::Staged { .. }));
        let (_, busy) = stage(&world, 2, tree(), "", directory());
        assert!(matches!(busy, Reply::Error(error) if error.kind == ErrorKind::Busy));
        drop(connection);
        // The turn ends when the stage is empty; until then the answer is "busy".
        loop {
            match stage(&world, 3, tree(), "", directory()) {
                (mut connection, Reply::Staged { .. }) => {
                    connection.send(&Call::AbortPush);
                    assert_eq!(connection.next(), Some(Reply::Done));
                    break;
                }
                (_, Reply::Error(error)) => assert_eq!(error.kind, ErrorKind::Busy),
                (_, other) => panic!("{other:?}"),
            }
        }
        assert_eq!(world.tree(), world.lower);
    });
}

#[test]
fn what_changed_in_between_makes_the_whole_push_fail() {
    with_world(baseline(), |world| {
        let tree = Item::dir([("a", Item::file(b"1")), ("old", Item::file(b"2"))]);
        let (mut connection, _) = stage(&world, 1, tree, "", directory());
        fs::remove_file(world.top.join("old")).unwrap();
        fs::create_dir(world.top.join("old")).unwrap();
        connection.send(&Call::CommitPush);
        assert!(conflict(connection.next().unwrap()).contains("'old'"));
        assert!(!world.top.join("a").exists());
    });
}
