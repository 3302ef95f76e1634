use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pyro_format::BaselineId;
use pyro_store::{Error, Mount};

use crate::support::{Scratch, look, noise, scratch};

/// Without the device nothing can be mounted: said, and not counted as a success of anything.
fn can_mount() -> bool {
    let can = fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !can {
        eprintln!("skipped: /dev/fuse cannot be opened");
    }
    can
}

fn filled(scratch: &Scratch) -> PathBuf {
    let source = scratch.source();
    for at in 0..300u64 {
        let dir = source.join(format!("d{}/e{}", at % 5, at % 3));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{at}")), noise(at, (at as usize * 3571) % 200_000)).unwrap();
    }
    fs::create_dir(source.join("empty")).unwrap();
    symlink("../elsewhere", source.join("link")).unwrap();
    fs::write(source.join("script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("script"), fs::Permissions::from_mode(0o751)).unwrap();
    source
}

/// A source, its baseline, and where that is mounted.
struct Mounted {
    source: PathBuf,
    baseline: BaselineId,
    dir: PathBuf,
    mount: Mount,
}

fn mounted(scratch: &Scratch) -> Mounted {
    let source = filled(scratch);
    let baseline = scratch.ingest(&source).unwrap().baseline;
    let dir = scratch.path("mounted");
    fs::create_dir(&dir).unwrap();
    let mount = scratch.store.mount(baseline, &dir).unwrap();
    Mounted { source, baseline, dir, mount }
}

#[test]
fn a_mounted_baseline_looks_like_its_source() {
    if !can_mount() {
        return;
    }
    let scratch = scratch();
    let Mounted { source, baseline, dir, mount } = mounted(&scratch);
    assert!(mount.is_mounted());
    for _ in 0..2 {
        assert_eq!(look(&dir), look(&source));
    }
    assert!(dir.join("absent").symlink_metadata().is_err());
    assert!(dir.join("script/below").symlink_metadata().is_err());
    assert!(fs::write(dir.join("new"), "x").is_err());
    // What is shown stays in the store although its baseline is forgotten.
    scratch.store.remove_baseline(baseline).unwrap();
    scratch.store.gc(&pyro_store::GcOptions::default(), &Vec::new, &()).unwrap();
    assert_eq!(fs::read(dir.join("d1/e1/f1")).unwrap(), noise(1, 3571));
    drop(mount);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn what_has_a_file_open_keeps_it_when_the_view_goes() {
    if !can_mount() {
        return;
    }
    let scratch = scratch();
    let Mounted { dir, mount, .. } = mounted(&scratch);
    let mut open = fs::File::open(dir.join("d1/e1/f1")).unwrap();
    drop(mount);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut open, &mut content).unwrap();
    assert_eq!(content, noise(1, 3571));
}

#[test]
fn directories_that_cannot_be_mounted_on_are_refused() {
    let scratch = scratch();
    let source = filled(&scratch);
    let report = scratch.ingest(&source).unwrap();
    let refuse = |dir: &Path| scratch.store.mount(report.baseline, dir).err().unwrap();
    assert!(matches!(refuse(&source), Error::MountPoint { .. }));
    assert!(matches!(refuse(&source.join("script")), Error::MountPoint { .. }));
    assert!(matches!(refuse(scratch.store.dir()), Error::MountPoint { .. }));
    assert!(matches!(refuse(&scratch.path("absent")), Error::Io { .. }));
    assert_eq!(fs::read_dir(scratch.store.dir().join("mounts")).unwrap().count(), 0);
}
