//! What programs of a sandbox may not do: they share the host's kernel, so they get few rights
//! (capabilities(7)) and not all of its system calls (seccomp(2)).
//!
//! None of them makes namespaces: by that it would have all rights in them, and lose its mark.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::error::{Error, Result};

/// What root usually has in a container, less devices and raw packets: the numbers of
/// `linux/capability.h` for CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
/// NET_BIND_SERVICE, SYS_CHROOT and SETFCAP.
const RIGHTS: [u32; 11] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31];

/// Calls that change mounts and namespaces, load code into the kernel, reach kernel objects that no
/// namespace separates, or are known for little but holes.
const REFUSED: [i64; 44] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_uselib,
];

/// All kinds of namespaces, as flags of clone(2) and unshare(2).
const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWCGROUP,
    /* CLONE_NEWTIME */ 0x80,
];

/// The bit that marks calls of the x32 interface, which have numbers of their own.
const X32: u32 = 0x4000_0000;

/// Rights and calls of a sandbox's programs, as the kernel takes them.
#[derive(Debug)]
pub struct Confinement {
    /// Bit by bit, the capabilities that remain.
    pub rights: u64,
    /// The filter's program.
    pub filter: Vec<libc::sock_filter>,
}

impl Confinement {
    /// The confinement of every program.
    pub fn new() -> Result<Self> {
        let filter = filter().map_err(|error| Error::Invalid(format!("no filter: {error}")))?;
        Ok(Self { rights: RIGHTS.iter().fold(0, |rights, bit| rights | 1 << bit), filter })
    }
}

fn filter() -> Result<Vec<libc::sock_filter>, seccompiler::Error> {
    let has = |flag: i32| {
        let flag = flag as u64;
        let operator = SeccompCmpOp::MaskedEq(flag);
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, operator, flag)?;
        SeccompRule::new(vec![condition])
    };
    let no_namespaces = |kinds: &[i32]| kinds.iter().copied().map(has).collect::<Result<_, _>>();
    let mut rules: std::collections::BTreeMap<_, Vec<SeccompRule>> =
        REFUSED.map(|call| (call, Vec::new())).into();
    rules.insert(libc::SYS_unshare, no_namespaces(&NAMESPACES)?);
    // For clone(2) the flag of time namespaces is part of a signal's number.
    rules.insert(libc::SYS_clone, no_namespaces(&NAMESPACES[..7])?);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let refused = SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::x86_64)?;
    // Its flags are in memory, where no filter looks: C libraries fall back on clone(2).
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let clone3 = [(libc::SYS_clone3, Vec::new())].into();
    let absent = SeccompFilter::new(clone3, SeccompAction::Allow, absent, TargetArch::x86_64)?;
    let refused = BpfProgram::try_from(refused)?;
    let absent = BpfProgram::try_from(absent)?;
    Ok(join(&absent, &refused))
}

/// One program that does what both say, the first one first; calls of the x32 interface are absent.
/// Each is a list of instructions with jumps to what follows, and its last ones return.
fn join(first: &BpfProgram, second: &BpfProgram) -> Vec<libc::sock_filter> {
    let allow = libc::SECCOMP_RET_ALLOW;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let returns = libc::BPF_RET | libc::BPF_K;
    let mut joined = vec![
        // The number of the call is the first field of `seccomp_data`.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        instruction(returns, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ];
    let own = |of: &seccompiler::sock_filter| libc::sock_filter {
        code: of.code,
        jt: of.jt,
        jf: of.jf,
        k: of.k,
    };
    for (at, one) in first.iter().enumerate() {
        // What the first allows, the second decides.
        let allows = u32::from(one.code) == returns && one.k == allow;
        joined.push(match allows {
            true => instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, (first.len() - 1 - at) as u32),
            false => own(one),
        });
    }
    joined.extend(second.iter().map(own));
    joined
}
