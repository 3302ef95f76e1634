#!/usr/bin/env bash
# Builds the wheel and uses it as its users would: installed into a fresh virtual environment outside of the tree,
# the command and the SDK in real microVMs.
#
#   scripts/dist-check.sh       environment: PYRO_TEST_HOME (a home with installed environments; target/test-home)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
export PYRO_TEST_HOME=${PYRO_TEST_HOME:-$root/target/test-home}
say() { echo "dist-check: $*" >&2; }

say "building the wheel"
rm -rf target/dist
target/venv/bin/maturin build --release --locked --out target/dist
wheel=$(realpath target/dist/*.whl)
say "$(basename "$wheel"), $(stat -c %s "$wheel") bytes"
target/venv/bin/twine check --strict "$wheel"

place=$(mktemp -d)
venv=$place/venv
end() {
    if [[ -d $place/home ]]; then
        PYRO_HOME=$place/home "$venv/bin/pyro" workspace delete dist >/dev/null 2>&1 || true
        PYRO_HOME=$place/home "$venv/bin/pyro" daemon stop >/dev/null 2>&1 || true
    fi
    rm -rf "$place"
}
trap end EXIT

say "installing it into $venv"
# By the path of its interpreter: `uv venv` and a later pip may disagree about what is the default.
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$wheel"
# From here on nothing of the tree is to be found by chance.
unset PYTHONPATH PYRO_BINARY PYRO_HOME VIRTUAL_ENV
cd "$place"

say "a workspace by the installed command"
export PATH=$venv/bin:$PATH
[[ $(command -v pyro) == "$venv/bin/pyro" ]]
PYRO_HOME=$PYRO_TEST_HOME pyro env pull debian:12 >/dev/null
PYRO_HOME=$PYRO_TEST_HOME pyro daemon stop >/dev/null
(
    export PYRO_HOME=$place/home
    mkdir -m 700 "$PYRO_HOME" && ln -s "$PYRO_TEST_HOME/environments" "$PYRO_HOME/environments"
    cp -r "$root/fixtures/sample-project" project
    pyro workspace create debian:12 --seed-path project --name dist
    pyro workspace exec dist -- sh -c './run.sh > greetings.txt'
    pyro workspace sync push dist "$root/LICENSE"
    pyro workspace diff dist
    pyro workspace export dist greetings.txt --output greetings.txt
    grep Ada greetings.txt
    pyro workspace delete dist
    pyro daemon stop
)

say "every method of the SDK, in real microVMs"
cp -r "$root/python/tests" tests
(cd "$root" && scripts/uv.sh pip install --quiet --python "$venv/bin/python" "$(grep -o 'pytest==[0-9.]*' pyproject.toml)")
found=$(python -c 'import pyro_mcp; print(pyro_mcp.__file__, pyro_mcp.Pyro().binary)')
[[ $found == "$venv/"*"/pyro_mcp/__init__.py $venv/bin/pyro" ]]
cd tests
PYRO_TEST_INSTALLED=1 python -m pytest -c /dev/null --rootdir . -p no:cacheprovider -q -o markers='vm: boots microVMs' \
    --every-method test_contract.py test_workspace.py test_vm.py test_exec.py test_shell.py test_server.py
say "done"
