#!/usr/bin/env bash
# Official MCP clients and the conformance suite against a real server with real VMs.
#
#   scripts/test-mcp.sh            environment: PYRO (target/debug/pyro, built when missing),
#                                  PYRO_TEST_HOME (a home with debian:12; target/test-home)
#
# Installs the clients, at the versions in mcp/tests/clients, below target/mcp-clients. Prints one line for
# each test and a summary; 0 when none failed. What cannot run here is skipped, with the reason.
set -uo pipefail
cd "$(dirname "$0")/.."
here=$PWD
scripts=$here/mcp/tests/clients
clients=${CARGO_TARGET_DIR:-$here/target}/mcp-clients
pyro=${PYRO:-$here/target/debug/pyro}
[[ -x $pyro ]] || cargo build --locked --bin pyro || exit 1
pyro=$(realpath "$pyro")
environments=${PYRO_TEST_HOME:-$here/target/test-home}
work=$(mktemp -d "${TMPDIR:-/tmp}/pyro-mcp.XXXXXX")
export PYRO_HOME=$work/home
passed=0 failed=0 skipped=0 server=

end() {
    [[ -z $server ]] || { kill "$server" 2>/dev/null && wait "$server"; } 2>/dev/null
    for workspace in $("$pyro" workspace list --json 2>/dev/null | sed -n 's/.*"workspace_id": "\([^"]*\)".*/\1/p'); do
        "$pyro" workspace delete "$workspace" >/dev/null 2>&1
    done
    "$pyro" daemon stop >/dev/null 2>&1
    rm -rf "$work"
}
trap end EXIT

# Runs a command in `$dir`, which tools may read from and write to.
check() {
    local name=$1
    shift
    if (cd "$dir" && timeout 600 "$@") >"$work/log" 2>&1; then
        passed=$((passed + 1))
        echo "ok       $name"
    else
        failed=$((failed + 1))
        echo "FAILED   $name"
        sed 's/^/    /' "$work/log"
    fi
}

# A new `$dir` for the next test.
fresh() { dir=$(mktemp -d "$work/test.XXXXXX"); }

skip() {
    skipped=$((skipped + 1))
    echo "skipped  $1: $2"
}

# Serves HTTP in the background from `$dir`, with these arguments; sets `server` and `url`.
serve() {
    : >"$work/ready"
    (cd "$dir" && exec "$pyro" mcp serve --http 127.0.0.1:0 --json "$@") >"$work/ready" 2>"$work/server.log" &
    server=$!
    for _ in {1..600}; do
        url=$(sed -n 's/.*"url": "\([^"]*\)".*/\1/p' "$work/ready")
        [[ -z $url ]] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/server.log" "$work/ready" >&2
    exit 1
}

stop_serving() {
    kill "$server"
    wait "$server" 2>/dev/null
    server=
}

mkdir "$PYRO_HOME"
PYRO_HOME=$environments "$pyro" env pull debian:12 >&2 || exit 1
ln -s "$environments/environments" "$PYRO_HOME/environments"
mkdir -p "$clients"

# Installs once for each set of versions.
install() {
    local manifest=$1
    shift
    cmp -s "$scripts/$manifest" "$clients/$manifest" && return
    echo "mcp: installing $manifest below $clients" >&2
    "$@" >"$clients/install.log" 2>&1 && cp "$scripts/$manifest" "$clients/$manifest"
}

python_packages() {
    python3 -m venv "$clients/venv" && "$clients/venv/bin/pip" install --quiet -r "$scripts/requirements.txt"
}

node_packages() {
    mkdir -p "$clients/node" && cp "$scripts/package.json" "$clients/node/" &&
        npm install --prefix "$clients/node" --no-audit --no-fund --no-package-lock
}

# A client's script over both transports.
both() {
    local name=$1
    shift
    fresh
    check "$name, standard streams" "$@" --stdio "$pyro"
    fresh
    serve
    check "$name, HTTP" "$@" --url "$url" --token "$(cat "$PYRO_HOME/mcp-token")"
    stop_serving
}

if install requirements.txt python_packages; then
    python=$clients/venv/bin/python
    both "Python client, newest protocol" "$python" "$scripts/python_client.py" --mode auto
    both "Python client, handshake" "$python" "$scripts/python_client.py" --mode legacy
else
    skip "Python client" "its packages cannot be installed; see $clients/install.log"
fi

if ! command -v npm >/dev/null; then
    skip "TypeScript client" "npm is not installed"
    skip "conformance" "npm is not installed"
elif ! install package.json node_packages; then
    skip "TypeScript client" "its packages cannot be installed; see $clients/install.log"
    skip "conformance" "its packages cannot be installed; see $clients/install.log"
else
    # Modules are found from where the script is.
    cp "$scripts/typescript_client.mjs" "$clients/node/"
    node=$clients/node/node_modules/node/bin/node
    both "TypeScript client" "$node" "$clients/node/typescript_client.mjs"
    # The suite cannot show a token.
    fresh
    serve --no-token
    check "conformance" "$node" "$clients/node/node_modules/@modelcontextprotocol/conformance/dist/index.js" server \
        --url "$url" --suite all --expected-failures "$scripts/conformance.yaml"
    stop_serving
fi

# Nothing may be left but the daemon, which ends with this script.
left=$("$pyro" workspace list --json | sed -n 's/.*"workspace_id": "\([^"]*\)".*/\1/p')
check "no workspace is left" test -z "$left"

echo "mcp: $passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
