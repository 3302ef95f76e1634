//! VMs.

use pyro_api::{
    VmDeleteReply, VmInfo, VmListReply, VmNetworkInfoReply, VmReapExpiredReply, VmState,
};

use super::{count, fields, or_dash, shown, table};

fn state(state: VmState) -> &'static str {
    match state {
        VmState::Created => "created",
        VmState::Started => "started",
        VmState::Stopped => "stopped",
    }
}

/// `pyro vm create`
pub fn created(info: &VmInfo) -> String {
    let id = shown(&info.vm_id);
    let machine = format!(
        "{}, {} vCPU, {} MiB, {}",
        shown(&info.environment),
        info.vcpu_count,
        info.mem_mib,
        shown(&info.execution_mode)
    );
    fields([
        ("vm", id.clone()),
        ("machine", machine),
        ("expires at", or_dash(info.expires_at.as_deref())),
        ("next", format!("pyro vm start {id}")),
        ("then", format!("pyro vm exec {id} -- CMD")),
    ])
}

/// `pyro vm status`
pub fn status(info: &VmInfo) -> String {
    let mut rows = vec![("vm", shown(&info.vm_id)), ("state", state(info.state).to_owned())];
    if let Some(reason) = &info.stop_reason {
        rows.push(("stopped because", shown(reason)));
    }
    rows.extend([
        ("environment", shown(&info.environment)),
        ("runs on", shown(&info.execution_mode)),
        (
            "machine",
            format!("{} vCPU, {} MiB, disk {} MiB", info.vcpu_count, info.mem_mib, info.disk_mib),
        ),
        ("network", if info.network_enabled { "on" } else { "off" }.to_owned()),
        ("created at", info.created_at.clone()),
        ("expires at", or_dash(info.expires_at.as_deref())),
    ]);
    fields(rows)
}

/// `pyro vm list`
pub fn list(reply: &VmListReply) -> String {
    let head = ["VM", "STATE", "ENVIRONMENT", "CREATED", "EXPIRES"].map(String::from).to_vec();
    let row = |info: &VmInfo| {
        vec![
            shown(&info.vm_id),
            state(info.state).to_owned(),
            shown(&info.environment),
            info.created_at.clone(),
            or_dash(info.expires_at.as_deref()),
        ]
    };
    table([head].into_iter().chain(reply.vms.iter().map(row)).collect())
}

/// `pyro vm start` and `stop`
pub fn moved(info: &VmInfo) -> String {
    format!("{} is {}\n", shown(&info.vm_id), state(info.state))
}

/// `pyro vm delete`
pub fn deleted(reply: &VmDeleteReply) -> String {
    format!("deleted {}\n", shown(&reply.vm_id))
}

/// `pyro vm network`
pub fn network(reply: &VmNetworkInfoReply) -> String {
    fields([
        ("vm", shown(&reply.vm_id)),
        ("policy", shown(&reply.network_policy)),
        ("guest", or_dash(reply.guest_ip.as_deref())),
        ("gateway", or_dash(reply.gateway_ip.as_deref())),
        ("name server", or_dash(reply.dns_ip.as_deref())),
    ])
}

/// `pyro vm reap`
pub fn reaped(reply: &VmReapExpiredReply) -> String {
    let line = |what: &str, ids: &[String]| {
        ids.iter().map(|id| format!("deleted {what} {}\n", shown(id))).collect::<String>()
    };
    line("VM", &reply.reaped_vm_ids)
        + &line("workspace", &reply.reaped_workspace_ids)
        + &format!("{} expired\n", count(reply.count, "VM", "VMs"))
}
