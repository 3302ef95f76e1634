//! `pyro env ...`

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List the environments and whether they are installed
    List,
    /// Build an environment from its distribution's packages, or fetch an OCI image
    Pull(EnvPull),
    /// Make an environment from an image file: a docker archive or an OCI layout
    Import(EnvImport),
    /// Make an environment from a directory that holds a whole system
    Create(EnvCreate),
    /// Remove an environment that was fetched, imported or created
    Remove(EnvInspect),
    /// Show one environment: image, kernel, packages
    Inspect(EnvInspect),
    /// Remove images that newer ones replaced and no workspace uses, and kernels that no image needs
    Prune(EnvPrune),
    /// Build, show or remove the small kernel, with which guests boot faster
    #[command(subcommand)]
    Kernel(KernelCommand),
}

/// The small kernel is Debian's source with what a guest needs built in, and nothing else.
#[derive(Debug, Subcommand)]
pub enum KernelCommand {
    /// Build it from Debian's source; from then on every environment boots it
    #[command(after_help = "\
Example:
  pyro env kernel build    takes minutes and 1.5 GB of temporary space, once

Workspaces that run go on with the kernel that they booted. What needs a module of Debian's kernel
does not work with this one: 'pyro env kernel remove' goes back.")]
    Build(KernelBuildArgs),
    /// Show whether there is one, and which
    Show,
    /// Remove it: environments boot their own kernel again, from their next boot on
    Remove,
}

#[derive(Debug, Args)]
pub struct KernelBuildArgs {
    /// Build it anew even when it is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro env pull debian:12           Debian with Git and Python
  pyro env pull debian:12-build     the same with compilers and build tools
  pyro env pull debian:12 --force   build it anew, with today's packages
  pyro env pull python:3            an OCI image, by tag or digest, from any registry
  pyro run python:3 -- python3 -V   and its use

An image that was damaged is noticed and built again. Registries get the credentials of your docker
configuration. What a tag names is looked up each time; what is there already is not fetched again.
With PYRO_ENV_REGISTRY=registry.example/team in the daemon's environment, debian:12 and its like
come from there when it has them.")]
pub struct EnvPull {
    /// Environment, such as debian:12, or image reference
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Build it anew even when it is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct EnvInspect {
    /// Environment, such as debian:12
    #[arg(value_name = "ENV")]
    pub environment: String,
}

#[derive(Debug, Args)]
pub struct EnvPrune {
    /// Only tell what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Also remove what is made again when it is needed: images that no workspace uses and
    /// whose files the store has, and saved machines
    #[arg(long)]
    pub images: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  docker save app:1 -o app.tar && pyro env import app.tar --name app:1
  skopeo copy docker://registry.example/app:1 oci:app && pyro env import app --name app:1")]
pub struct EnvImport {
    /// Image file, or directory of an OCI layout
    #[arg(value_name = "IMAGE")]
    pub path: PathBuf,
    /// What the environment is to be called
    #[arg(long, value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mmdebstrap trixie ./root && pyro env create trixie --from-dir ./root

Done as root, it keeps owners, attributes, devices and hard links; else everything is root's.")]
pub struct EnvCreate {
    /// What the environment is to be called
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Directory with a whole system
    #[arg(long, value_name = "DIR")]
    pub from_dir: PathBuf,
}
