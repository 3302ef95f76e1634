//! The catalog with images made here: everything but the build itself, which needs the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::Silent;
use crate::build::Staged;

const NAME: &str = "debian:12";

struct Home {
    dir: tempfile::TempDir,
    catalog: Catalog,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        Self { dir, catalog }
    }

    /// Installs an image of these bytes, with a kernel of its own version.
    fn install(&self, name: &str, image: &[u8], kernel_version: &str) -> ImageDigest {
        self.install_with(name, image, kernel_version, r#","network_modules":[]"#)
    }

    /// The same, with `more` in the kernel's record.
    fn install_with(
        &self,
        name: &str,
        image: &[u8],
        kernel_version: &str,
        more: &str,
    ) -> ImageDigest {
        let stage = self.catalog.stage().unwrap();
        let root_image = stage.path().join("root.erofs");
        fs::write(&root_image, image).unwrap();
        let kernel = stage.path().join("kernel");
        fs::create_dir(&kernel).unwrap();
        fs::write(kernel.join("vmlinux"), b"\x7fELF").unwrap();
        let hash = blake3::hash(b"\x7fELF");
        let record = format!(
            r#"{{"schema":1,"version":"{kernel_version}","release":"6.1.0",
                "vmlinux":{{"path":"vmlinux","size":4,"blake3":"{hash}"}},"modules":[]{more}}}"#
        );
        fs::write(kernel.join("kernel.json"), record).unwrap();
        let staged = Staged {
            root_image,
            hash: blake3::hash(image),
            size: image.len() as u64,
            packages: vec![Package { name: "bash".into(), version: "5.2".into() }],
            kernel_version: kernel_version.into(),
            kernel: Some(kernel),
        };
        self.catalog.install(name, staged, None, stage.path()).unwrap();
        blake3::hash(image).into()
    }

    fn state(&self) -> (EnvironmentState, Option<String>) {
        let info = self.catalog.inspect(NAME).unwrap().info;
        (info.state, info.problem)
    }
}

#[test]
fn all_known_environments_are_listed_before_any_is_installed() {
    let home = Home::new();
    let list = home.catalog.list().unwrap();
    assert_eq!(list.len(), RECIPES.len());
    assert!(list.iter().all(|info| info.state == EnvironmentState::Absent));
    let error = home.catalog.resolve(NAME).unwrap_err();
    assert!(matches!(error, Error::NotInstalled { .. }));
    assert!(error.to_string().contains("pyro env pull debian:12"));
    assert!(matches!(home.catalog.resolve("x"), Err(Error::Unknown { .. })));
}

#[test]
fn an_installed_environment_is_resolved_and_described() {
    let home = Home::new();
    let digest = home.install(NAME, b"image", "6.1-1");
    let environment = home.catalog.resolve(NAME).unwrap();
    assert_eq!(environment.digest, digest);
    assert_eq!(fs::read(&environment.root_image).unwrap(), b"image");
    assert_eq!(environment.kernel.version, "6.1-1");
    assert_eq!(home.catalog.resolve_digest(NAME, digest).unwrap(), environment);
    assert_eq!(home.catalog.verify(NAME, &Silent).unwrap(), environment);
    let detail = home.catalog.inspect(NAME).unwrap();
    assert_eq!(detail.info.state, EnvironmentState::Installed);
    assert_eq!(detail.info.size, Some(5));
    assert_eq!(detail.packages.len(), 1);
    // The stage it came from is gone.
    assert!(home.catalog.leftovers().unwrap().is_empty());
}

#[test]
fn an_intact_environment_is_pulled_without_building() {
    let home = Home::new();
    let digest = home.install(NAME, b"image", "6.1-1");
    assert_eq!(home.catalog.pull(NAME, &Silent).unwrap().digest, digest);
}

#[test]
fn a_kernel_from_before_networks_is_used_until_the_next_pull_replaces_it() {
    let home = Home::new();
    let digest = home.install_with(NAME, b"image", "6.1-1", "");
    let old = home.catalog.verify(NAME, &Silent).unwrap();
    assert!(matches!(old.check_network(), Err(Error::NoNetworkModules { .. })));
    assert!(home.catalog.installed_kernels().is_empty(), "the next pull fetches it again");
    // The same packages as before, and the kernel of the same version.
    home.install(NAME, b"image", "6.1-1");
    let new = home.catalog.resolve_digest(NAME, digest).unwrap();
    new.check_network().unwrap();
    assert_eq!(home.catalog.installed_kernels(), ["6.1-1"]);
}

#[test]
fn damage_is_noticed_by_use_or_by_verify() {
    type Damage = fn(&Environment);
    let by_use: [(Damage, &str); 4] = [
        (|e| fs::write(&e.root_image, b"imag").unwrap(), "4 bytes instead of 5"),
        (|e| fs::remove_file(&e.root_image).unwrap(), "cannot be read"),
        (|e| fs::remove_file(&e.kernel.vmlinux).unwrap(), "vmlinux"),
        (|e| fs::write(e.root_image.with_file_name("environment.json"), b"{").unwrap(), "damaged"),
    ];
    for (damage, says) in by_use {
        let home = Home::new();
        home.install(NAME, b"image", "6.1-1");
        damage(&home.catalog.resolve(NAME).unwrap());
        let (state, problem) = home.state();
        assert_eq!(state, EnvironmentState::Broken);
        assert!(problem.as_ref().unwrap().contains(says), "{problem:?}");
        assert!(matches!(home.catalog.resolve(NAME), Err(Error::Broken { .. })));
        // The same packages give the same image: installing it again is the repair.
        home.install(NAME, b"image", "6.1-1");
        assert_eq!(home.state(), (EnvironmentState::Installed, None));
        home.catalog.verify(NAME, &Silent).unwrap();
    }
    let by_verify: [Damage; 2] = [
        (|e| fs::write(&e.root_image, b"imagE").unwrap()),
        (|e| fs::write(&e.kernel.vmlinux, b"\x7fELf").unwrap()),
    ];
    for damage in by_verify {
        let home = Home::new();
        home.install(NAME, b"image", "6.1-1");
        damage(&home.catalog.resolve(NAME).unwrap());
        assert_eq!(home.state().0, EnvironmentState::Installed);
        let error = home.catalog.verify(NAME, &Silent).unwrap_err();
        assert!(error.to_string().contains("has changed"), "{error}");
        home.install(NAME, b"image", "6.1-1");
        home.catalog.verify(NAME, &Silent).unwrap();
    }
}

#[test]
fn a_damaged_pointer_means_not_installed() {
    let home = Home::new();
    home.install(NAME, b"image", "6.1-1");
    for text in [&b""[..], b"../../etc", &[0xff; 64]] {
        fs::write(home.catalog.pointer(NAME), text).unwrap();
        assert!(matches!(home.catalog.resolve(NAME), Err(Error::NotInstalled { .. })));
    }
}

#[test]
fn prune_keeps_what_is_newest_or_in_use_and_their_kernels() {
    let home = Home::new();
    let used = home.install(NAME, b"one", "6.1-1");
    let unused = home.install(NAME, b"two", "6.1-2");
    let newest = home.install(NAME, b"three", "6.1-3");
    home.install("debian:12-base", b"base", "6.1-3");
    fs::create_dir_all(home.dir.path().join("environments/tmp/left")).unwrap();

    let plan = home.catalog.prune(&[used], false, true).unwrap();
    let names: Vec<_> = plan.pruned.iter().map(|p| (p.kind, p.name.as_str(), p.digest)).collect();
    assert_eq!(
        names,
        [
            (PrunedKind::Image, NAME, Some(unused)),
            (PrunedKind::Kernel, "6.1-2", None),
            (PrunedKind::Leftover, "left", None),
        ]
    );
    home.catalog.resolve_digest(NAME, unused).unwrap();

    let done = home.catalog.prune(&[used], false, false).unwrap();
    assert_eq!(PruneReport { dry_run: true, ..done }, plan);
    for digest in [used, newest] {
        home.catalog.resolve_digest(NAME, digest).unwrap();
    }
    let gone = home.catalog.resolve_digest(NAME, unused);
    assert!(matches!(gone, Err(Error::NotInstalled { .. })));
    assert!(home.catalog.prune(&[used], false, false).unwrap().pruned.is_empty());
}

#[test]
fn leftovers_of_killed_pulls_go_with_the_next() {
    let home = Home::new();
    home.install(NAME, b"image", "6.1-1");
    let stage = home.catalog.stage().unwrap().keep();
    let build_root = tempfile::Builder::new().prefix("pyro-build-").tempdir().unwrap().keep();
    fs::write(build_root.join("big"), b"x").unwrap();
    fs::write(stage.join("build-root"), build_root.to_str().unwrap()).unwrap();
    // A stage that points elsewhere removes nothing there.
    let other = tempfile::tempdir().unwrap();
    let lying = home.catalog.stage().unwrap().keep();
    fs::write(lying.join("build-root"), other.path().to_str().unwrap()).unwrap();

    home.catalog.pull(NAME, &Silent).unwrap();
    assert!(!stage.exists() && !lying.exists() && !build_root.exists());
    assert!(other.path().exists());
}

/// Cancels as soon as it hears that the pull waits.
#[derive(Default)]
struct CancelWhenWaiting(AtomicBool);

impl Progress for CancelWhenWaiting {
    fn phase(&self, name: &str, _detail: &str) {
        if name == "wait" {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    fn advance(&self, _done: u64, _total: Option<u64>) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_second_pull_waits_and_can_be_cancelled() {
    let home = Home::new();
    let digest = home.install(NAME, b"image", "6.1-1");
    let lock = home.catalog.lock(&Silent).unwrap();
    let waiting = CancelWhenWaiting::default();
    assert!(matches!(home.catalog.pull(NAME, &waiting), Err(Error::Cancelled)));

    let catalog = Arc::new(home.catalog.clone());
    let second = thread::spawn(move || catalog.pull(NAME, &Silent).unwrap().digest);
    drop(lock);
    assert_eq!(second.join().unwrap(), digest);
}
