use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::options::Profile;

/// A user's home with a project, a key, a link, and pyro's own directory.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("user");
        fs::create_dir_all(home.join("project/src")).unwrap();
        fs::create_dir_all(home.join("other")).unwrap();
        fs::create_dir_all(home.join(".ssh")).unwrap();
        fs::create_dir_all(home.join("pyro/store")).unwrap();
        fs::write(home.join(".ssh/id"), "secret").unwrap();
        fs::write(home.join("project/there.txt"), "x").unwrap();
        symlink(home.join(".ssh"), home.join("project/keys")).unwrap();
        symlink("there.txt", home.join("project/link.txt")).unwrap();
        symlink(home.join("project"), dir.path().join("named")).unwrap();
        Self { dir }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("user")
    }

    fn options(&self, directory: PathBuf) -> Options {
        Options {
            profile: Profile::WorkspaceFull,
            allow_roots: Vec::new(),
            directory,
            user_home: Some(self.home()),
        }
    }

    fn roots(&self) -> Roots {
        Roots::default_of(&self.options(self.home().join("project")), &self.home().join("pyro"))
    }

    fn explicit(&self, roots: &[&Path]) -> Roots {
        let mut options = self.options(self.home());
        options.allow_roots = roots.iter().map(|root| root.to_path_buf()).collect();
        Roots::explicit(&options, &self.home().join("pyro")).unwrap().unwrap()
    }
}

#[track_caller]
fn refused(result: Result<PathBuf, ErrorBody>, code: ErrorCode, word: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(word), "{word:?} is not in: {error}");
    assert!(code == ErrorCode::InvalidArgument || error.hint.is_some(), "no way out: {error}");
}

use ErrorCode::{AlreadyExists, InvalidArgument, PathNotAllowed, PathNotFound};

#[test]
fn relative_paths_start_at_the_first_root() {
    let world = World::new();
    let project = world.home().join("project");
    let roots = world.roots();
    assert_eq!(roots.source("seed_path", ".").unwrap(), project);
    assert_eq!(roots.source("seed_path", "./src//").unwrap(), project.join("src"));
    assert_eq!(roots.target("output_path", "src/new").unwrap(), project.join("src/new"));
}

#[test]
fn an_absolute_path_may_use_the_name_of_its_root() {
    let world = World::new();
    let named = world.dir.path().join("named");
    let roots = world.explicit(&[&named]);
    let expected = world.home().join("project/src");
    assert_eq!(roots.source("seed_path", named.join("src").to_str().unwrap()).unwrap(), expected);
    assert_eq!(roots.source("seed_path", expected.to_str().unwrap()).unwrap(), expected);
}

#[test]
fn what_is_outside_is_refused() {
    let world = World::new();
    let roots = world.roots();
    for path in ["/etc", "/", "/etc/passwd", world.home().join("other").to_str().unwrap()] {
        refused(roots.source("seed_path", path), PathNotAllowed, path);
        refused(roots.target("output_path", path), PathNotAllowed, path);
    }
    // A name that only begins like the root's.
    let beside = format!("{}-2", world.home().join("project").display());
    refused(roots.source("seed_path", &beside), PathNotAllowed, "under no directory");
}

#[test]
fn tildes_and_dots_are_refused() {
    let world = World::new();
    let roots = world.roots();
    refused(roots.source("seed_path", "~/.ssh"), PathNotAllowed, "not expanded");
    refused(roots.source("seed_path", "~root"), PathNotAllowed, "not expanded");
    refused(roots.source("seed_path", "../other"), PathNotAllowed, "'..'");
    refused(roots.source("seed_path", "src/../src"), PathNotAllowed, "'..'");
    refused(roots.source("seed_path", ""), InvalidArgument, "empty");
    refused(roots.target("output_path", "a\0b"), InvalidArgument, "null byte");
}

#[test]
fn links_are_not_followed() {
    let world = World::new();
    let roots = world.roots();
    refused(roots.source("seed_path", "keys"), PathNotAllowed, "symbolic link");
    refused(roots.source("seed_path", "keys/id"), PathNotAllowed, "keys is a symbolic link");
    refused(roots.source("source_path", "link.txt"), PathNotAllowed, "symbolic link");
    refused(roots.target("output_path", "keys/new"), PathNotAllowed, "symbolic link");
    refused(roots.target("output_path", "link.txt"), PathNotAllowed, "symbolic link");
}

#[test]
fn nothing_that_exists_is_written_to() {
    let world = World::new();
    let roots = world.roots();
    refused(roots.target("output_path", "there.txt"), AlreadyExists, "there.txt");
    refused(roots.target("output_path", "src"), AlreadyExists, "src");
    refused(roots.target("output_path", "."), AlreadyExists, ".");
    refused(roots.target("output_path", "no/new"), PathNotFound, "no");
    refused(roots.target("output_path", "there.txt/new"), PathNotFound, "there.txt");
    refused(roots.source("seed_path", "none"), PathNotFound, "none");
}

#[test]
fn pyros_own_directory_is_neither_source_nor_target() {
    let world = World::new();
    let home = world.home();
    let roots = world.explicit(&[&home, &home.join("pyro")]);
    for path in ["pyro", "pyro/store"] {
        refused(roots.source("seed_path", path), PathNotAllowed, "pyro's own");
        refused(roots.target("output_path", &format!("{path}/x")), PathNotAllowed, "pyro's own");
    }
    refused(roots.source("seed_path", "."), PathNotAllowed, "holds pyro's own");
}

#[test]
fn what_is_hidden_in_the_users_home_must_be_allowed_on_purpose() {
    let world = World::new();
    let home = world.home();
    let by_default = Roots::default_of(&world.options(home.clone()), &home.join("pyro"));
    refused(by_default.source("seed_path", ".ssh"), PathNotAllowed, "hidden in your home");
    refused(by_default.target("output_path", ".ssh/new"), PathNotAllowed, "hidden in your home");
    refused(by_default.target("output_path", ".profile"), PathNotAllowed, "hidden in your home");
    refused(by_default.source("seed_path", "."), PathNotAllowed, "all of your home");
    assert!(by_default.source("seed_path", "other").is_ok());
    assert!(world.explicit(&[&home.join(".ssh")]).source("seed_path", ".").is_ok());
}

#[test]
fn a_directory_that_holds_the_users_home_is_no_default() {
    let world = World::new();
    for directory in [PathBuf::from("/"), world.home().parent().unwrap().to_owned()] {
        let roots = Roots::default_of(&world.options(directory), &world.home().join("pyro"));
        let error = roots.source("seed_path", ".").unwrap_err();
        assert_eq!(error.code, PathNotAllowed);
        assert!(error.hint.unwrap().contains("--allow-root"));
    }
}

#[test]
fn a_root_that_is_no_directory_stops_the_server() {
    let world = World::new();
    let mut options = world.options(world.home());
    for name in ["none", "project/there.txt"] {
        options.allow_roots = vec![name.into()];
        assert!(Roots::explicit(&options, &world.home().join("pyro")).is_err(), "{name}");
    }
}

#[test]
fn the_clients_roots_are_files_of_this_host() {
    let world = World::new();
    let home = world.home();
    let spaced = home.join("my project");
    fs::create_dir(&spaced).unwrap();
    let uri = format!("file://{}", home.join("my%20project").display());
    let uris = ["http://example/x", "file:///", "file:///nowhere", "project", &uri];
    let roots = Roots::of_client(&world.options("/".into()), &home.join("pyro"), uris);
    assert_eq!(roots.roots.len(), 1);
    assert_eq!(roots.source("seed_path", ".").unwrap(), spaced);
}
