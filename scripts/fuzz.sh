#!/usr/bin/env bash
# Throws bytes at every decoder: scripts/fuzz.sh [SECONDS_PER_TARGET [TARGET...]]     (default: 60, all)
#
# Starts from fixtures/fuzz and keeps what it learns below target/fuzz. An input that crashes is left in
# target/fuzz/crashes: put it into fixtures/fuzz/TARGET, where `make test` replays it, and mend the code.
# Needs a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz --locked`).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(nodes names records index wire pack archive bundle forged)
command -v cargo-fuzz >/dev/null || { echo "fuzz: cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 1; }
# Scratch stores are synced often: memory will do.
[[ -d /dev/shm && -w /dev/shm ]] && export TMPDIR=/dev/shm
mkdir -p target/fuzz/crashes
failed=0
for target in "${targets[@]}"; do
    corpus=target/fuzz/corpus/$target
    log=target/fuzz/$target.log
    mkdir -p "$corpus"
    # The limits are part of what is tested: no input may make a decoder take much memory or time. Leaks are not looked
    # for: threads that end beside the check are taken for some.
    cargo +nightly fuzz run --fuzz-dir store/fuzz "$target" "$corpus" "fixtures/fuzz/$target" -- \
        -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=1024 -malloc_limit_mb=600 -timeout=20 -detect_leaks=0 \
        -artifact_prefix=target/fuzz/crashes/"$target"- -print_final_stats=1 >"$log" 2>&1 && verdict=ok || verdict=FAILED
    [[ $verdict == ok ]] || failed=1
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    printf '%-8s %12s executions in %5s s  %s\n' "$target" "${runs:-none}" "$seconds" "$verdict"
done
exit "$failed"
