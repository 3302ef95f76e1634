#!/usr/bin/env bash
# Writes docs/first-run.md by really doing what it shows, in a home of its own.
#
#   scripts/first-run.sh            environment: PYRO (target/release/pyro), PYRO_ENVIRONMENTS (a home to borrow
#                                   installed environments from, so that nothing is built), OUT (docs/first-run.md)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
pyro=$(realpath "${PYRO:-$root/target/release/pyro}")
out=${OUT:-$root/docs/first-run.md}
place=$(mktemp -d)
export PYRO_HOME=$place/home
end() {
    "$pyro" workspace delete greet >/dev/null 2>&1 || true
    "$pyro" daemon stop >/dev/null 2>&1 || true
    rm -rf "$place"
}
trap end EXIT
mkdir -m 700 "$PYRO_HOME"
if [[ -n ${PYRO_ENVIRONMENTS:-} ]]; then
    ln -s "$PYRO_ENVIRONMENTS/environments" "$PYRO_HOME/environments"
fi
mkdir "$place/bin" && ln -s "$pyro" "$place/bin/pyro"
export PATH=$place/bin:$PATH
"$pyro" env pull debian:12 >/dev/null 2>&1
cp -r "$root/fixtures/sample-project" "$place/greet"
find "$place/greet" -exec touch -d '2026-01-01 00:00:00' {} +
cd "$place/greet"

page=$(mktemp -p "$place")
tell() { printf '%s\n' "$@" >>"$page"; }
# Shows a command and what it says on both streams, on a terminal's behalf.
show() {
    local code=0
    {
        printf '```console\n$ %s\n' "$1"
        bash -c "$1" 2>&1 </dev/null || code=$?
        if [[ $code -ne 0 ]]; then printf '# exit code %d\n' "$code"; fi
        printf '```\n\n'
    } >>"$page"
}

tell '# First run' '' \
    'A real session, written by `scripts/first-run.sh`: ids and times differ for you. Before it: `make build`, `target/release/pyro`' \
    'on the `PATH`, and `pyro env pull debian:12`.' '' \
    'The project is `fixtures/sample-project`, a program that greets the people in `names.txt`.' '' \
    '## create, exec' ''
show 'pyro workspace create debian:12 --seed-path . --name greet'
tell 'The VM runs and `/workspace` in it is this directory as it is now: the baseline.' ''
show 'pyro workspace exec greet -- ./run.sh'
show "pyro workspace exec greet -- sed -i 's/Hello/Good morning/' greet.py"
tell '## sync' '' 'Files that change on the host later are pushed, all of them or none. The baseline stays what it was.' ''
printf 'Ada\nGrace\nBarbara\n' >"$place/names.txt"
show 'cat ../names.txt'
show 'pyro workspace sync push greet ../names.txt'
show "pyro workspace exec greet -- sh -c './run.sh > greetings.txt'"
tell '## diff' ''
show 'pyro workspace diff greet'
show 'pyro workspace diff greet --patch'
tell 'The same for programs:' ''
show "pyro workspace diff greet --json | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)[\"entries\"][0], indent=2))'"
tell '## export' '' 'A target that exists is refused; with `--force` it is replaced.' ''
show 'pyro workspace export greet greetings.txt --output ../greetings.txt'
show 'cat ../greetings.txt'
show 'pyro workspace export greet greetings.txt --output ../greetings.txt'
tell '## apply' '' \
    'The directory that the workspace came from gets its changes by a three-way merge. At a terminal the plan is shown first and you' \
    'are asked; elsewhere `--yes`, or the `--tree` that you reviewed, says that it is right.' ''
show 'pyro workspace apply greet .'
show 'pyro workspace apply greet . --yes'
show 'pyro workspace apply greet . --undo'
tell '## logs, status, delete' '' 'Only commands are logged; diffs, pushes and exports leave no trace there.' ''
show 'pyro workspace logs greet'
show 'pyro workspace status greet'
show 'pyro workspace delete greet'
tell '## All of it at once' '' '`pyro here` makes the workspace, runs one command and shows the changes:' ''
show "pyro here --discard -- sed -i 's/Hello/Good evening/' greet.py"
tell 'The directory itself is untouched:' ''
show 'grep -c Hello greet.py'

sed -e "s#$place#/home/you#g" "$page" | cat -s >"$out"
# One blank line at the end would be one too many.
sed -i -e '${/^$/d}' "$out"
echo "wrote $out" >&2
