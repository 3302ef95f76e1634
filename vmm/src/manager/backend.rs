//! What runs a new workspace: what the daemon's environment names, else the strongest that works here.

use std::env;

use pyro_machine::{BackendKind, Verdict, firecracker_facts, probe_kvm, qemu_facts, sandbox_facts};

use super::Manager;
use crate::error::{Error, Result};
use crate::events::blocking;
use crate::workspace::boot::BootPlan;

/// Names the backend of every new workspace.
const BACKEND: &str = "PYRO_BACKEND";

impl Manager {
    /// The backend of a new workspace. `allow_host_compat`: one without a VM is allowed, where it is
    /// named or no VM can run.
    ///
    /// # Errors
    /// If the one that is named cannot work here, or none can. Nothing is chosen in its place.
    pub async fn choose_backend(
        &self,
        plan: &BootPlan,
        allow_host_compat: bool,
    ) -> Result<BackendKind> {
        let named = env::var_os(BACKEND).filter(|name| !name.is_empty());
        if let Some(name) = named {
            let name = name.to_string_lossy();
            let backend = BackendKind::named(&name)
                .ok_or_else(|| Error::UnknownBackend(name.escape_debug().to_string()))?;
            return self.backend_named(backend, plan, allow_host_compat).await;
        }
        match blocking(|_| Ok(qemu_facts()?)).await {
            Ok(_) => {}
            Err(_) if allow_host_compat => {
                return self.backend_named(BackendKind::HostCompat, plan, true).await;
            }
            Err(error) => return Err(error),
        }
        let usable = self.kvm(plan).await?.usable();
        Ok(if usable { BackendKind::QemuKvm } else { BackendKind::QemuTcg })
    }

    /// This backend and no other.
    async fn backend_named(
        &self,
        backend: BackendKind,
        plan: &BootPlan,
        allow_host_compat: bool,
    ) -> Result<BackendKind> {
        match backend {
            BackendKind::QemuTcg => _ = blocking(|_| Ok(qemu_facts()?)).await?,
            BackendKind::QemuKvm => {
                self.require_kvm(backend, plan).await?;
            }
            BackendKind::Firecracker => {
                blocking(|_| Ok(firecracker_facts()?)).await?;
                self.require_kvm(backend, plan).await?;
            }
            BackendKind::HostCompat if !allow_host_compat => {
                return Err(Error::HostCompatNotAllowed);
            }
            BackendKind::HostCompat => _ = blocking(|_| Ok(sandbox_facts()?)).await?,
        }
        Ok(backend)
    }

    async fn require_kvm(&self, backend: BackendKind, plan: &BootPlan) -> Result<()> {
        let verdict = self.kvm(plan).await?;
        if verdict.usable() {
            return Ok(());
        }
        Err(Error::BackendUnusable { backend: backend.name(), reason: verdict.reason })
    }

    async fn kvm(&self, plan: &BootPlan) -> Result<Verdict> {
        let kernel = &plan.environment.kernel.vmlinux;
        Ok(probe_kvm(kernel, Some(&plan.initrd), &self.home().cache()).await?)
    }
}
