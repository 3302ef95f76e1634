//! `pyro env ...`

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List the environments and whether they are installed
    List,
    /// Build an environment from its distribution's packages; does nothing when it is there
    Pull(EnvPull),
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

An image that was damaged is noticed and built again.")]
pub struct EnvPull {
    /// Environment, such as debian:12
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
}
