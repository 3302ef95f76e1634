#!/usr/bin/env bash
# Measures pyro beside the tools people use today; writes docs/benchmarks.md and, of every single measurement,
# docs/benchmarks.json.
#
#   bench/run.sh [--quick] [PART...]
#
#   PART       source, node, binary, many, large (corpora.sh tells what they are), vm, boot, mcp; `page` makes the page
#              anew and measures nothing. Parts that are not named keep the numbers they have. Without any:
#              $BENCH_CORPORA, or all.
#   --quick    the same on a few thousand files, to try the benchmark itself; the page goes to bench-out/
#
#   BENCH_CORPORA    what to do without PART, such as "source node"
#   BENCH_RUNS       rounds (3); BENCH_FAST_RUNS: of the short jobs (5; as many as BENCH_RUNS if that is below 3)
#   BENCH_CACHE      where corpora are kept and work is done (~/.cache/pyro-bench)
#   BENCH_RUSTIC     a rustic to use; without it one is built into BENCH_CACHE
#   BENCH_OUT, PYRO  another page, another program
#
# All of it takes about 40 minutes on two cores and 45 GB below BENCH_CACHE, 22 GB of that for the corpora, which stay;
# BENCH_RUNS=1 bench/run.sh source takes some 6 minutes and 15 GB. The first run also makes the corpora and builds rustic, 20 minutes.
# Installs borg, restic and zstd with apt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pyro-bench}
corpora=$cache/corpora
out=${BENCH_OUT:-$here/../docs/benchmarks.md}
runs=${BENCH_RUNS:-3}
said=
fast_runs=${BENCH_FAST_RUNS:-$((runs < 3 ? runs : runs < 5 ? 5 : runs))}
if [[ ${1:-} == --quick ]]; then
    shift
    said=' --quick'
    export BENCH_QUICK=1
    corpora=$corpora/quick
    out=${BENCH_OUT:-$here/../bench-out/benchmarks.md}
fi
mkdir -p "$corpora" "$(dirname "$out")"

parts=("$@")
if [[ ${#parts[@]} -eq 0 ]]; then
    read -ra parts <<<"${BENCH_CORPORA:-source node binary many large vm boot mcp}"
fi
wanted=()
for part in "${parts[@]}"; do
    case $part in
        source | node | binary | many | large) wanted+=("$part") ;;
        vm) wanted+=(source dirs) ;;
        boot | mcp) ;;
        page) parts=() ;;
        *)
            echo "bench: there is no part '$part': source, node, binary, many, large, vm, boot, mcp or page" >&2
            exit 2
            ;;
    esac
done

packages() {
    local missing=() root=()
    command -v borg >/dev/null || missing+=(borgbackup)
    command -v restic >/dev/null || missing+=(restic)
    command -v zstd >/dev/null || missing+=(zstd)
    if [[ ${#missing[@]} -gt 0 ]] && command -v apt-get >/dev/null; then
        echo "bench: installing what pyro is compared with: ${missing[*]}" >&2
        [[ $(id -u) -eq 0 ]] || root=(sudo)
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}" >&2 ||
            echo "bench: not all of them could be installed; their columns stay empty" >&2
    fi
}

rustic=()
find_rustic() {
    local program=${BENCH_RUSTIC:-$cache/rustic/bin/rustic}
    if [[ ! -x $program && ! ${BENCH_RUSTIC:-} ]]; then
        echo "bench: building rustic" >&2
        "${CARGO:-cargo}" install --quiet --locked --root "$cache/rustic" rustic-rs >&2 || true
    fi
    if [[ -x $program ]]; then
        rustic=(--rustic "$program")
    else
        echo "bench: there is no rustic; its column stays empty" >&2
    fi
}

if [[ ${#wanted[@]} -gt 0 ]]; then
    packages
    find_rustic
    "$here/corpora.sh" "$corpora" "${wanted[@]}"
fi
cd "$here/.."
program=${PYRO:-target/release/pyro}
if [[ ! -x $program && ${parts[*]} ]]; then
    echo "bench: there is no program $program: build it (make build), or name one with PYRO" >&2
    exit 1
fi
export PYTHONDONTWRITEBYTECODE=1
exec python3 -m bench \
    --pyro "$program" \
    "${rustic[@]}" \
    --corpora "$corpora" \
    --work "$cache/work" \
    --runs "$runs" \
    --fast-runs "$fast_runs" \
    --out "$out" \
    --command "BENCH_RUNS=$runs BENCH_FAST_RUNS=$fast_runs bench/run.sh$said ${parts[*]}" \
    "${parts[@]}"
