#!/usr/bin/env bash
# Keeps true what docs/architecture.md says of who knows whom. Reads the manifests; builds nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
"${CARGO:-cargo}" metadata --format-version 1 --no-deps | python3 scripts/check_layers.py
