//! The small kernel.

use pyro_api::KernelReply;

use super::{shown, size};

/// `pyro env kernel build` and `show`
pub fn shown_kernel(reply: &KernelReply) -> String {
    match &reply.small {
        Some(kernel) => format!(
            "environments boot the small kernel {}: {}, {}\n",
            shown(&kernel.release),
            shown(&kernel.version),
            size(kernel.size_bytes),
        ),
        None => "there is no small kernel: environments boot their own\n".to_owned(),
    }
}

/// `pyro env kernel remove`
pub fn removed(reply: &KernelReply) -> String {
    let was = if reply.removed { "removed the small kernel" } else { "there was no small kernel" };
    format!("{was}: environments boot their own\n")
}
