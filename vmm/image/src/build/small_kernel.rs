//! The optional small kernel: Debian's source, pyro's configuration, built in a Debian of its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::apt_output::AptOutput;
use super::debian::{self, BuildRoot};
use crate::kernel::store;
use crate::{Error, Progress, Result};

/// What is on, everything else being off.
const CONFIG: &str = include_str!("small.config");

/// The compiler, what the kernel's makefiles run (Documentation/process/changes.rst), and the source.
const PACKAGES: &str = "gcc,libc6-dev,make,bc,flex,bison,libelf-dev,xz-utils,linux-source";

/// Builds the kernel into a new directory of `stage`, in the form a machine boots, and returns it. Takes
/// about 1.5 GB in a directory that is gone afterwards.
pub(crate) fn build_kernel(stage: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let mmdebstrap = debian::check_tools()?;
    progress.phase("start", "the small kernel");
    let build_root = BuildRoot::create(stage)?;
    let root = build_root.path().join("root");
    let mut run = debian::mmdebstrap(&mmdebstrap, &build_root, "minbase");
    run.env("PYRO_CONFIG", CONFIG)
        .arg(format!("--include={PACKAGES}"))
        .arg(format!("--customize-hook={}", include_str!("small-kernel.sh")))
        .arg(debian::SUITE)
        .arg(&root);
    let mut output = AptOutput::default();
    let mut compiled = 0;
    run.finish(progress, |line| {
        // What `make` says of each file.
        if let Some(file) = line.strip_prefix("  CC ") {
            if compiled == 0 {
                progress.phase("compile", file.trim());
            }
            compiled += 1;
            progress.advance(compiled, None);
        } else {
            output.line(line, progress);
        }
    })?;

    let out = root.join(".pyro");
    let read = |name: &str| {
        let path = out.join(name);
        fs::read(&path).map_err(Error::io("read", &path))
    };
    let text = |name: &str| Ok(String::from_utf8_lossy(&read(name)?).trim().to_owned());
    let version = format!("{}+small", text("version")?);
    let dir = stage.join("kernel");
    store::install_built_in(&dir, &version, text("release")?, &read("vmlinux")?)?;
    Ok(dir)
}
