//! Words of the kernel's command line that every VMM gives.

/// Initcalls of a distribution kernel that a short-lived guest does without: kernel probes and the
/// control files of the tracer, certificates for signed modules, functions for BPF programs (whose
/// first registration parses 4 MB of type information). They take a third of its boot under
/// translation.
const SKIPPED_INITCALLS: &[&str] = &[
    "init_kprobe_trace",
    "tracer_init_tracefs",
    "load_system_certificate_list",
    "crypto_kdf108_init",
    "cubictcp_register",
    "bpf_rstat_kfunc_init",
    "kfunc_init",
    "bpf_key_sig_kfuncs_init",
    "bpf_prog_test_run_init",
    "bpf_tcp_ca_kfunc_init",
];

/// A serial console, a panic that ends the machine, and a boot without what guests do not need.
pub(super) fn words() -> Vec<String> {
    vec![
        "console=ttyS0".to_owned(),
        "panic=-1".to_owned(),
        "quiet".to_owned(),
        "cryptomgr.notests".to_owned(),
        format!("initcall_blacklist={}", SKIPPED_INITCALLS.join(",")),
        // There is one serial port; the kernel would look for four.
        "8250.nr_uarts=1".to_owned(),
    ]
}
