#!/usr/bin/env bash
# The main job on Firecracker: create, sync push, diff, export, delete. Passes where Firecracker and a KVM
# that runs guests are; elsewhere it says what is missing and ends with 77.
set -euo pipefail
cd "$(dirname "$0")/.."
pyro=${PYRO:-target/release/pyro}
if [[ ! -x ${PYRO_FIRECRACKER:-$(dirname "$pyro")/firecracker} ]] && ! command -v firecracker >/dev/null; then
    echo "smoke-firecracker: skipped: firecracker is not installed"
    exit 77
fi
work=$(mktemp -d)
export PYRO_HOME=$work/home PYRO_BACKEND=firecracker
# Environments that are installed already need not be built again.
environments=${PYRO_ENVIRONMENTS:-${XDG_DATA_HOME:-$HOME/.local/share}/pyro}/environments
end() {
    "$pyro" daemon stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap end EXIT
mkdir "$PYRO_HOME"
if [[ -d $environments ]]; then ln -s "$environments" "$PYRO_HOME/environments"; fi
"$pyro" env pull debian:12

field() { python3 -c "import json, sys; print(json.load(sys.stdin)[\"$1\"])"; }
found=$("$pyro" doctor --json | python3 -c '
import json, sys
checks = {check["name"]: check for check in json.load(sys.stdin)["checks"]}
check = checks.get("firecracker", {"status": "failed", "message": "there is no QEMU to try KVM with"})
print(check["status"], check["message"])') || true
if [[ $found != ok\ * ]]; then
    echo "smoke-firecracker: skipped: ${found#* }"
    exit 77
fi
echo "smoke-firecracker: ${found#ok }"

mkdir "$work/seed" "$work/more"
echo one >"$work/seed/file"
echo two >"$work/more/pushed"
id=$("$pyro" workspace create debian:12 --seed-path "$work/seed" --id-only)
[[ $("$pyro" workspace status "$id" --json | field execution_mode) == firecracker ]]
"$pyro" workspace exec "$id" -- sh -c 'echo changed >>file'
"$pyro" workspace sync push "$id" "$work/more" --dest more
"$pyro" workspace diff "$id" --name-status | tee "$work/diff"
grep -q '^M.*file$' "$work/diff"
grep -q '^A.*more/pushed$' "$work/diff"
"$pyro" workspace export "$id" file --output "$work/out"
[[ $(cat "$work/out") == $'one\nchanged' ]]
"$pyro" workspace delete "$id"
[[ -z $(ls -A "$PYRO_HOME/workspaces") ]]
echo "smoke-firecracker: passed"
