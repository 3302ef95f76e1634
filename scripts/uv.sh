#!/usr/bin/env bash
# Runs uv on this project; where there is no uv, one of the project's own in target/tools. The environment of
# tools and examples is target/venv. Nothing outside of target and uv's cache is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=uv
if ! uv --version >/dev/null 2>&1; then
    uv=target/tools/bin/uv
    if ! $uv --version >/dev/null 2>&1; then
        echo "uv.sh: there is no uv: installing one into target/tools" >&2
        python3 -m venv --clear target/tools
        target/tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
    fi
fi
# The Python that the host has: none is downloaded.
export UV_PROJECT_ENVIRONMENT=target/venv UV_PYTHON_DOWNLOADS=never
exec $uv "$@"
