#!/usr/bin/env bash
# Measures pyro beside the tools people use today and writes docs/benchmarks.md.
#
#   bench/run.sh            environment: BENCH_RUNS (3), BENCH_CACHE (~/.cache/pyro-bench), BENCH_OUT, PYRO
#
# Takes about 12 GB below BENCH_CACHE while it runs and 3 GB afterwards. Installs borg and restic with apt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pyro-bench}
mkdir -p "$cache"

missing=()
command -v borg >/dev/null || missing+=(borgbackup)
command -v restic >/dev/null || missing+=(restic)
command -v zstd >/dev/null || missing+=(zstd)
if [[ ${#missing[@]} -gt 0 ]] && command -v apt-get >/dev/null; then
    echo "bench: installing what pyro is compared with: ${missing[*]}" >&2
    root=()
    [[ $(id -u) -eq 0 ]] || root=(sudo)
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}" >&2 ||
        echo "bench: not all of them could be installed; their columns stay empty" >&2
fi

"$here/corpora.sh" "$cache/corpora"
export PYTHONDONTWRITEBYTECODE=1
pyro=${PYRO:-$here/../target/release/pyro}
out=${BENCH_OUT:-$here/../docs/benchmarks.md}
python3 "$here/bench.py" \
    --pyro "$pyro" \
    --corpora "$cache/corpora" \
    --work "$cache/work" \
    --runs "${BENCH_RUNS:-3}" \
    --out "$out"
# Its section goes into the page that was just written.
exec python3 "$here/mcp.py" --pyro "$pyro" --out "$out"
