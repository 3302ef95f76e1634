//! Hosts that are not as a plan wants them.

use std::cell::Cell;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::Command;
use std::rc::Rc;

use super::*;

const NUMBERS: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";

/// One file that the workspace rewrote.
fn rewritten() -> (Tree, Tree) {
    (tree([("f", file("old\n"))]), tree([("f", file("new\n"))]))
}

/// Runs `work` before the `at`-th change of the host directory.
fn before(at: usize, work: impl Fn() + 'static) -> impl Fn() + 'static {
    let left = Rc::new(Cell::new(at));
    move || {
        if left.get() == 0 {
            work();
        }
        left.set(left.get().wrapping_sub(1));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn changes_in_different_places_of_a_text_are_merged_byte_for_byte() {
    let changed = |from: &str, to: &str| file(&NUMBERS.replace(from, to));
    let base = tree([("f", file(NUMBERS))]);
    let theirs = tree([("f", changed("2\n", "two\r\n"))]);
    let ours = tree([("f", changed("9\n", "\u{e9}"))]);
    let world = World::new(&base, &theirs, &ours);
    let plan = world.apply();
    assert_eq!(action(&plan, "f").0, Action::Merge);
    let merged = NUMBERS.replace("2\n", "two\r\n").replace("9\n", "\u{e9}");
    assert_eq!(read(&world.host()), tree([("f", file(&merged))]));
    assert_eq!(action(&world.apply(), "f").0, Action::Same);
}

#[test]
fn a_text_that_would_take_too_long_to_merge_is_a_conflict() {
    let lines = |salt: u64| (0..40_000).map(|n| format!("{}\n", n * salt)).collect::<String>();
    let at = |salt| tree([("f", file(&lines(salt)))]);
    let world = World::new(&at(1), &at(3), &at(7));
    let (action, reason) = action(&world.apply(), "f");
    assert_eq!(
        (action, &*reason),
        (Action::Conflict, "both changed it, and it is too long to merge")
    );
}

#[test]
fn nothing_that_git_takes_for_a_repository_is_written() {
    let mut theirs = tree([
        (".git", Item::Dir(0o755)),
        (".git/config", file("[core]\n\tsshCommand = evil\n")),
        (".GIT", Item::Dir(0o755)),
        (".GIT/config", file("evil")),
        ("sub", Item::Dir(0o755)),
        ("sub/git~1", file("gitdir: elsewhere")),
        ("sub/ok", file("ok")),
    ]);
    theirs.insert(".g\u{200c}it".into(), file("gitdir: elsewhere"));
    let base = tree([(".git", Item::Dir(0o755)), (".git/config", file("[core]\n"))]);
    let world = World::new(&base, &theirs, &base);
    let plan = world.apply_with(Options { beside: true }, || {}).unwrap();
    for path in [".git", ".GIT", "sub/git~1", ".g\u{200c}it"] {
        assert_eq!(action(&plan, path).0, Action::Refused, "{path}");
    }
    let mut expected = base;
    expected.extend(tree([("sub", Item::Dir(0o755)), ("sub/ok", file("ok"))]));
    assert_eq!(read(&world.host()), expected);
}

#[test]
fn a_deleted_directory_with_something_that_is_left_alone_stays() {
    let base = tree([
        ("sub", Item::Dir(0o755)),
        ("sub/.git", Item::Dir(0o755)),
        ("sub/.git/config", file("[core]\n")),
        ("sub/f", file("f")),
        ("odd", Item::Dir(0o755)),
        ("odd/f", file("f")),
    ]);
    let world = World::new(&base, &Tree::new(), &base);
    fs::remove_file(world.host().join("odd/f")).unwrap();
    let made = Command::new("mkfifo").arg(world.host().join("odd/f")).status().unwrap();
    assert!(made.success());
    let plan = world.apply();
    assert_eq!(action(&plan, "sub"), (Action::Keep, "it holds '.git' here".to_owned()));
    assert_eq!(action(&plan, "sub/f").0, Action::Delete);
    assert_eq!(action(&plan, "odd"), (Action::Keep, "it holds 'f' here".to_owned()));
    assert!(world.host().join("sub/.git/config").exists());
}

#[test]
fn a_link_in_the_way_leads_nowhere() {
    let base = tree([("d", Item::Dir(0o755)), ("d/f", file("old"))]);
    let theirs = tree([("d", Item::Dir(0o755)), ("d/f", file("new")), ("d/g", file("new"))]);
    let world = World::new(&base, &theirs, &base);
    let outside = world.dir.path().join("outside");
    write(&tree([("f", file("old"))]), &outside);
    fs::remove_dir_all(world.host().join("d")).unwrap();
    symlink(&outside, world.host().join("d")).unwrap();
    let plan = world.apply();
    assert_eq!(action(&plan, "d/f"), (Action::Conflict, "d: a link is there".to_owned()));
    assert_eq!(read(&outside), tree([("f", file("old"))]));
    let plan = world.apply_with(Options { beside: true }, || {}).unwrap();
    assert_eq!(plan.entries[0].beside, Some(TreePath::parse(b"d.pyro-theirs/f").unwrap()));
    assert_eq!(read(&outside), tree([("f", file("old"))]));
    assert_eq!(fs::read(world.host().join("d.pyro-theirs/g")).unwrap(), b"new");
}

#[test]
fn a_directory_that_becomes_a_link_between_plan_and_change_leads_nowhere() {
    let base = tree([("d", Item::Dir(0o755)), ("d/f", file("old"))]);
    let theirs = tree([("d", Item::Dir(0o755)), ("d/f", file("new"))]);
    for at in 0..6 {
        let world = World::new(&base, &theirs, &base);
        let (host, outside) = (world.host(), world.dir.path().join("outside"));
        let moved = outside.clone();
        let outcome = world.apply_with(
            Options::default(),
            before(at, move || {
                fs::rename(host.join("d"), &moved).unwrap();
                symlink(&moved, host.join("d")).unwrap();
            }),
        );
        let kept = fs::read(outside.join("f")).map(|bytes| bytes == b"old").unwrap_or(true);
        assert!(kept || outcome.is_ok(), "{at}");
    }
}

#[test]
fn what_somebody_writes_while_a_plan_is_carried_out_is_never_lost() {
    let (base, theirs) = rewritten();
    let mut noticed = 0;
    for at in 0..8 {
        let world = World::new(&base, &theirs, &base);
        let path = world.host().join("f");
        let (to, done) = (path.clone(), Rc::new(Cell::new(false)));
        let wrote = done.clone();
        let outcome = world.apply_with(
            Options::default(),
            before(at, move || {
                // As editors do, so that it is another file.
                fs::write(to.with_extension("tmp"), "mine\n").unwrap();
                fs::rename(to.with_extension("tmp"), &to).unwrap();
                wrote.set(true);
            }),
        );
        if done.get() {
            noticed += usize::from(outcome.is_err());
            assert_eq!(fs::read(&path).unwrap(), b"mine\n", "{at}");
            assert_eq!(read(&world.host()).len(), 1, "nothing is left beside it");
        }
    }
    assert!(noticed > 0);
}

#[test]
fn what_was_changed_since_stays_and_what_was_there_is_kept() {
    let base = tree([("f", file("old f\n")), ("g", file("old g\n")), ("gone", file("bye\n"))]);
    let theirs = tree([("f", file("new f\n")), ("g", file("new g\n")), ("h", file("made\n"))]);
    let world = World::new(&base, &theirs, &base);
    world.apply();
    fs::write(world.host().join("f"), "mine\n").unwrap();
    let undone = world.undo();
    assert_eq!(undone.restored.len(), 3);
    let [left] = &undone.left[..] else { panic!("{undone:?}") };
    assert_eq!(fs::read(left.kept.as_ref().unwrap()).unwrap(), b"old f\n");
    let mut expected = base.clone();
    expected.insert("f".into(), file("mine\n"));
    assert_eq!(read(&world.host()), expected);
    // Another attempt, when the way is free.
    fs::write(world.host().join("f"), "new f\n").unwrap();
    assert_eq!(world.undo().left, []);
    assert_eq!(read(&world.host()), base);
}

#[test]
fn a_mode_is_taken_back_unless_the_file_was_edited_since() {
    let base = tree([("a", file("a")), ("b", file("b"))]);
    let executable = |text: &str| Item::File(0o755, text.into());
    let theirs = tree([("a", executable("a")), ("b", executable("b"))]);
    let world = World::new(&base, &theirs, &base);
    assert_eq!(action(&world.apply(), "a").0, Action::Mode);
    fs::write(world.host().join("b"), "mine").unwrap();
    let left: Vec<_> = world.undo().left.into_iter().map(|left| left.path.to_string()).collect();
    assert_eq!(left, ["b"]);
    assert_eq!(read(&world.host()), tree([("a", file("a")), ("b", executable("mine"))]));
}

#[test]
fn plans_are_taken_back_one_after_the_other_and_not_without_end() {
    let (base, theirs) = rewritten();
    let world = World::new(&base, &theirs, &base);
    for round in 0..7 {
        world.apply();
        fs::write(world.host().join("f"), "old\n").unwrap();
        fs::write(world.host().join(format!("{round}")), "mine").unwrap();
    }
    let key = fs::read_dir(world.dir.path().join("journals")).unwrap().next().unwrap().unwrap();
    assert_eq!(fs::read_dir(key.path()).unwrap().count(), 5);
    let session = |world: &World| {
        let journals = world.journals();
        let session = journals.open(Host::open(&world.host()).unwrap()).unwrap();
        if let Ok(about) = session.last() {
            assert_eq!(about.tree, "tree");
        }
        session.undo()
    };
    for _ in 0..5 {
        fs::write(world.host().join("f"), "new\n").unwrap();
        assert_eq!(session(&world).unwrap().left, []);
    }
    assert!(matches!(session(&world), Err(Error::NothingToUndo(_))));
}

#[test]
fn times_owners_and_permissions_are_given_back_and_no_set_id_bit_is_kept() {
    let (base, mut theirs) = rewritten();
    theirs.insert("made".into(), file("made"));
    let world = World::new(&base, &theirs, &tree([("f", Item::File(0o4644, b"old\n".into()))]));
    let path = world.host().join("f");
    if is_root() {
        chown(world.host(), Some(4321), Some(4321)).unwrap();
        chown(&path, Some(1234), Some(1234)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4644)).unwrap();
    }
    let was = fs::metadata(&path).unwrap();
    world.apply();
    let now = fs::metadata(&path).unwrap();
    assert_eq!(now.mode() & 0o7777, 0o644);
    if is_root() {
        assert_eq!((now.uid(), now.gid()), (1234, 1234));
        assert_eq!(fs::metadata(world.host().join("made")).unwrap().uid(), 4321);
    }
    world.undo();
    let back = fs::metadata(&path).unwrap();
    let seen = |meta: &fs::Metadata| (meta.mtime(), meta.mtime_nsec(), meta.uid(), meta.gid());
    assert_eq!(seen(&back), seen(&was));
}

#[test]
fn the_mode_of_the_directory_itself_comes_and_goes() {
    let (base, theirs) = rewritten();
    let mut world = World::new(&base, &theirs, &base);
    let mode = |world: &World| fs::metadata(world.host()).unwrap().mode() & 0o777;
    let was = RootNode { mode: pyro_format::Mode::new(mode(&world) as u16), ..world.theirs };
    let is = RootNode { mode: pyro_format::Mode::new(0o700), ..was };
    diff(&world.store, &was, &is, |delta| world.changes.insert(0, delta)).unwrap();
    world.apply();
    assert_eq!(mode(&world), 0o700);
    world.undo();
    assert_eq!(mode(&world), u32::from(was.mode.bits()));
}

#[test]
fn what_is_no_file_is_left_alone_and_not_waited_for() {
    let (base, theirs) = rewritten();
    let world = World::new(&base, &theirs, &Tree::new());
    let made = Command::new("mkfifo").arg(world.host().join("f")).status().unwrap();
    assert!(made.success());
    let (action, reason) = action(&world.apply(), "f");
    assert_eq!((action, &*reason), (Action::Conflict, "it is no file, directory or link"));
}

#[test]
fn long_paths_are_applied_and_taken_back() {
    let mut theirs = Tree::new();
    let name = "n".repeat(200);
    let deep: Vec<&str> = std::iter::repeat_n(&*name, 15).collect();
    for depth in 1..=deep.len() {
        theirs.insert(deep[..depth].join("/").into(), Item::Dir(0o755));
    }
    let mut base = theirs.clone();
    base.insert(format!("{}/f", deep.join("/")).into(), file("old"));
    theirs.insert(format!("{}/f", deep.join("/")).into(), file("new"));
    let world = World::new(&base, &theirs, &base);
    world.apply();
    assert_eq!(read(&world.host()), theirs);
    world.undo();
    assert_eq!(read(&world.host()), base);
}

#[test]
fn names_that_are_one_on_the_host_lose_nothing() {
    let base = tree([("readme", file("r")), ("sub", Item::Dir(0o755)), ("sub/f", file("f"))]);
    let theirs = tree([
        ("D", Item::Dir(0o755)),
        ("D/x", file("x")),
        ("README", file("new")),
        ("Readme", file("newer")),
        ("d", Item::Dir(0o755)),
        ("d/x", file("another")),
        ("d/y", file("y")),
        ("sub", Item::Dir(0o755)),
        ("sub/f", file("f")),
    ]);
    let world = World::new(&base, &theirs, &base);
    let mut host = Host::open(&world.host()).unwrap();
    host.folds = true;
    let journals = world.journals();
    let session = journals.open(host).unwrap();
    let plan = session
        .plan(&world.store, &world.changes, &world.theirs, Options { beside: true })
        .unwrap();
    for (path, expected) in [
        ("D/x", Action::Create),
        ("README", Action::Create),
        ("Readme", Action::Conflict),
        ("d", Action::Conflict),
        ("d/x", Action::Conflict),
        ("d/y", Action::Conflict),
        ("readme", Action::Conflict),
    ] {
        assert_eq!(action(&plan, path).0, expected, "{path}");
    }
    session.apply(&world.store, &plan, world.about(), &()).unwrap();
    let found = read(&world.host());
    assert_eq!(found[&b"readme"[..]], file("r"), "it may be the same file as README");
    assert_eq!(found[&b"Readme.pyro-theirs"[..]], file("newer"));
    assert!(!found.contains_key(&b"d"[..]));
}

#[test]
fn a_file_system_that_cannot_be_written_to_stays_as_it_is() {
    let (base, theirs) = rewritten();
    let world = World::new(&base, &theirs, &base);
    let mounted = mount(&["--bind", "-o", "ro"], &world.host());
    let Ok(_mounted) = mounted else { return eprintln!("skipped: {}", mounted.unwrap_err()) };
    let error = world.apply_with(Options::default(), || {}).unwrap_err();
    assert!(matches!(&error, Error::Io { action: "write to", .. }), "{error}");
    assert_eq!(read(&world.host()), base);
    assert!(matches!(world.journals().recover()[..], []));
}

#[test]
fn another_file_system_inside_is_left_alone() {
    let base = tree([("d", Item::Dir(0o755)), ("d/f", file("old"))]);
    let theirs = tree([("d", Item::Dir(0o755)), ("d/f", file("new"))]);
    let world = World::new(&base, &theirs, &base);
    let mounted = mount(&["-t", "tmpfs"], &world.host().join("d"));
    let Ok(_mounted) = mounted else { return eprintln!("skipped: {}", mounted.unwrap_err()) };
    fs::write(world.host().join("d/f"), "old").unwrap();
    let (action, reason) = action(&world.apply(), "d/f");
    assert_eq!((action, &*reason), (Action::Conflict, "d: it is on another file system"));
    assert_eq!(fs::read(world.host().join("d/f")).unwrap(), b"old");
}

/// A mount, until it is dropped.
#[derive(Debug)]
struct Mounted(PathBuf);

fn mount(options: &[&str], at: &Path) -> Result<Mounted, String> {
    if !is_root() {
        return Err("a mount takes root".to_owned());
    }
    let mut command = Command::new("mount");
    command.args(options).args([if options[0] == "--bind" { at } else { Path::new("none") }, at]);
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then(|| Mounted(at.to_owned())).ok_or(said)
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
