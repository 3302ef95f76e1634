//! Can this machine do the job, and if not, what is missing?

use pyro_api::{Check, CheckStatus, DoctorReply};
use pyro_image::EnvironmentState;
use pyro_machine::{CgroupFacts, Kvm, Verdict};

use crate::error::Result;
use crate::events::blocking;
use crate::manager::Manager;

/// Free space under which a warning is due, in bytes: one environment and some work.
const LOW_SPACE: u64 = 4 << 30;

/// Looks at everything that a workspace needs.
pub async fn examine(manager: &Manager) -> Result<DoctorReply> {
    let mut checks = vec![qemu()];
    checks.extend(network());
    checks.extend(tools());
    let cgroups = blocking(|_| Ok(pyro_machine::cgroup_facts())).await?;
    checks.push(host_compat(cgroups.usable).await?);
    checks.push(cgroup(&cgroups));
    checks.push(space(manager));
    let (environment, execution_mode, virtualisation) = guests(manager).await?;
    checks.push(environment);
    checks.extend(virtualisation);
    Ok(DoctorReply {
        ready: checks.iter().all(|check| check.status != CheckStatus::Failed),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        home: manager.home().path().into(),
        execution_mode,
        checks,
    })
}

fn check(name: &str, status: CheckStatus, message: String, hint: Option<String>) -> Check {
    Check { name: name.to_owned(), status, message, hint }
}

fn qemu() -> Check {
    match pyro_machine::qemu_facts() {
        Ok(facts) => {
            let message = format!("{} ({})", facts.version, facts.path.display());
            check("qemu", CheckStatus::Ok, message, None)
        }
        Err(error) => {
            let body = crate::error::Error::from(error).to_body();
            check("qemu", CheckStatus::Failed, body.message, body.hint)
        }
    }
}

/// What `--network` needs. Nothing to say where QEMU itself is missing.
fn network() -> Option<Check> {
    let (status, message, hint) = match pyro_machine::has_user_networking() {
        Ok(true) => (CheckStatus::Ok, "guests can have a network", None),
        Ok(false) => (
            CheckStatus::Warning,
            "QEMU was built without user-mode networking: no --network",
            Some("install a QEMU with it; Debian's has it".to_owned()),
        ),
        Err(_) => return None,
    };
    Some(check("network", status, message.to_owned(), hint))
}

/// Whether workspaces without a VM would work. Nobody needs them where a VM runs, so this is never a
/// failure.
async fn host_compat(freezes: bool) -> Result<Check> {
    let tried = blocking(|_| Ok(pyro_machine::sandbox_facts())).await?;
    let name = "host-compat";
    Ok(match tried {
        Ok(facts) => {
            let freezes = if freezes { "can" } else { "cannot (no cgroup v2)" };
            let message = format!(
                "{} ({}) works, commands {freezes} be frozen; used only with --allow-host-compat",
                facts.version,
                facts.path.display()
            );
            check(name, CheckStatus::Ok, message, None)
        }
        Err(error) => {
            let body = crate::error::Error::from(error).to_body();
            check(name, CheckStatus::Warning, body.message, body.hint)
        }
    })
}

/// What bounds a machine as a whole. Without, a VM has the bounds of its memory, disk and processors, and a
/// workspace without a VM has none.
fn cgroup(facts: &CgroupFacts) -> Check {
    let name = "cgroup";
    if !facts.bounds.is_empty() {
        let bounds = facts.bounds.join(", ");
        return check(
            name,
            CheckStatus::Ok,
            format!("each machine has bounds of its own: {bounds}"),
            None,
        );
    }
    let message = match facts.usable {
        true => "there is cgroup v2 without controllers: nothing bounds a machine as a whole",
        false => "pyro may make no cgroup of version 2: nothing bounds a machine as a whole",
    };
    let hint = "where systemd runs: 'pyro daemon stop', then the next command as \
                'systemd-run --user --scope --property=Delegate=yes pyro ...'";
    check(name, CheckStatus::Warning, message.to_owned(), Some(hint.to_owned()))
}

fn tools() -> Vec<Check> {
    let rootless = rustix::process::geteuid().as_raw() != 0;
    pyro_image::required_tools()
        .iter()
        .filter(|tool| rootless || !tool.rootless_only)
        .map(|tool| match pyro_image::find_tool(tool.name) {
            Ok(path) => check(tool.name, CheckStatus::Ok, path.display().to_string(), None),
            Err(error) => {
                let body = crate::error::Error::from(error).to_body();
                check(tool.name, CheckStatus::Failed, body.message, body.hint)
            }
        })
        .collect()
}

fn space(manager: &Manager) -> Check {
    let home = manager.home().path();
    match rustix::fs::statvfs(home) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let message =
                format!("{:.1} GiB free in {}", free as f64 / (1u64 << 30) as f64, home.display());
            let (status, hint) = if free < LOW_SPACE {
                let hint = "free some space, or move PYRO_HOME to a larger disk";
                (CheckStatus::Warning, Some(hint.to_owned()))
            } else {
                (CheckStatus::Ok, None)
            };
            check("disk", status, message, hint)
        }
        Err(error) => check("disk", CheckStatus::Failed, error.to_string(), None),
    }
}

/// Whether an environment is installed, and what guests run on; the latter takes a guest to find out.
async fn guests(manager: &Manager) -> Result<(Check, Option<String>, Vec<Check>)> {
    let catalog = manager.catalog();
    let listed = blocking(move |_| Ok(catalog.list()?)).await?;
    let installed: Vec<_> =
        listed.iter().filter(|e| e.state == EnvironmentState::Installed).collect();
    let Some(first) = installed.first() else {
        let hint = "'pyro env pull debian:12' builds one".to_owned();
        let message = "none is installed yet".to_owned();
        let environment = check("environment", CheckStatus::Warning, message, Some(hint));
        return Ok((environment, None, Vec::new()));
    };
    let names: Vec<_> = installed.iter().map(|e| e.name.as_str()).collect();
    let environment = check("environment", CheckStatus::Ok, names.join(", "), None);
    // Without QEMU, of which its own check tells, there is nothing to find out.
    let (Ok(_), Ok(plan)) =
        (pyro_machine::qemu_facts(), manager.boot_plan(&first.name, None).await)
    else {
        return Ok((environment, None, Vec::new()));
    };
    let kernel = &plan.environment.kernel.vmlinux;
    let cache = manager.home().cache();
    let verdict = pyro_machine::probe_kvm(kernel, Some(&plan.initrd), &cache).await?;
    let (mode, status) = if verdict.usable() {
        ("qemu-kvm", CheckStatus::Ok)
    } else {
        ("qemu-tcg", CheckStatus::Warning)
    };
    let kvm = check("kvm", status, verdict.reason.clone(), kvm_hint(verdict.found));
    let checks = vec![kvm, firecracker(&verdict).await?];
    Ok((environment, Some(mode.to_owned()), checks))
}

/// The way to a KVM that works.
fn kvm_hint(found: Kvm) -> Option<String> {
    let way = match found {
        Kvm::Works => return None,
        Kvm::NoDevice => {
            "load its module ('modprobe kvm_intel' or 'kvm_amd'); in a virtual machine allow nested \
             virtualisation, in a container pass the device ('--device /dev/kvm')"
        }
        Kvm::NoPermission => {
            "join the device's group ('sudo usermod -aG kvm USER') and log in again"
        }
        Kvm::Unopenable => "see what else uses the device, and 'dmesg'",
        Kvm::Refused | Kvm::Silent | Kvm::Stuck => {
            "take a host whose own hypervisor runs guests in guests properly, or real hardware"
        }
    };
    Some(format!("guests run under emulation: slower, but everything works; for KVM {way}"))
}

/// Firecracker is used only where it is named (`PYRO_BACKEND`), so nothing fails without it.
async fn firecracker(kvm: &Verdict) -> Result<Check> {
    let facts = blocking(|_| Ok(pyro_machine::firecracker_facts())).await?;
    let (status, message, hint) = match facts {
        Err(error) => {
            let body = crate::error::Error::from(error).to_body();
            (CheckStatus::Warning, body.message, body.hint)
        }
        Ok(facts) => {
            let jailed = if facts.jailer.is_some() { ", in its jailer" } else { "" };
            let what = format!("Firecracker {} ({}){jailed}", facts.version, facts.path.display());
            let cannot = (!kvm.usable()).then(|| format!("no KVM: {}", kvm.reason));
            match cannot {
                Some(why) => (CheckStatus::Warning, format!("{what}; {why}"), None),
                None => (CheckStatus::Ok, what, None),
            }
        }
    };
    Ok(check("firecracker", status, message, hint))
}
