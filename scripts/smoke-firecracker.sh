#!/usr/bin/env bash
# The main job on Firecracker: create, sync push, diff, export, delete; then workspaces that go on as a saved
# machine. Passes where Firecracker and a KVM that runs guests are; elsewhere it says what is missing and
# ends with 77.
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

# A machine like the first one is being saved; once it is, the next ones go on as it.
for ((tries = 0; tries < 600; tries++)); do
    saved=$(compgen -G "$PYRO_HOME/cache/saved/[0-9a-f]*" || true)
    [[ -z $saved ]] || break
    sleep 0.1
done
[[ -n $saved ]]
for name in first second; do
    "$pyro" workspace create debian:12 --seed-path "$work/seed" --name "$name" --id-only
    "$pyro" workspace exec "$name" -- sh -c 'hostname; cat /workspace/file; date +%s; head -c 16 /dev/urandom | od -An -tx1' >"$work/$name"
    mapfile -t said <"$work/$name"
    [[ ${said[0]} == "$name" && ${said[1]} == one ]]
    late=$(($(date +%s) - said[2]))
    ((late >= -2 && late <= 5))
done
[[ $(tail -n 1 "$work/first") != $(tail -n 1 "$work/second") ]]
if grep -e 'it boots$' -e 'no machines are saved' "$PYRO_HOME/daemon.log"; then exit 1; fi
"$pyro" workspace delete first
"$pyro" workspace delete second
[[ -z $(ls -A "$PYRO_HOME/workspaces") ]]
echo "smoke-firecracker: passed"
