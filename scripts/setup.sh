#!/usr/bin/env bash
# Installs what pyro needs on a Debian 12 host beyond a Rust toolchain and Python: says what and why, asks
# for nothing when nothing is missing.
#
#   scripts/setup.sh            install what is missing
#   scripts/setup.sh --check    only say what is missing; exit 1 if anything is
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# What to look for (a program or a file), the Debian package that has it, what it is for.
needs=(
    'qemu-system-x86_64|qemu-system-x86|runs the microVMs'
    '/usr/share/qemu/bios-microvm.bin|qemu-system-data|firmware of the microVMs'
    'mmdebstrap|mmdebstrap|builds environments from Debian packages'
    '/usr/share/keyrings/debian-archive-keyring.gpg|debian-archive-keyring|signatures of those packages'
    'mkfs.erofs|erofs-utils|packs environments into read-only images'
    'mkfs.ext4|e2fsprogs|formats the scratch disks of workspaces'
    'bwrap|bubblewrap|runs workspaces without a VM, where that is allowed'
    'newuidmap|uidmap|builds environments without being root'
    'cc|gcc|compiles the C parts of Rust dependencies'
    '/usr/include/stdio.h|libc6-dev|the same'
    'git|git|tests compare with it'
    'patch|patch|tests apply diffs with it'
    'strace|strace|tests make system calls fail with it'
    'python3|python3|tests and the Python SDK'
    '/usr/lib/python3.11/ensurepip/__init__.py|python3-venv|virtual environments: tools, and the wheel as its users install it'
    'node|nodejs|tests use the official TypeScript MCP client'
    'npm|npm|installs that client'
    'docker-registry|docker-registry|tests fetch images from it, on loopback'
    'skopeo|skopeo|tests move images with it'
    'umoci|umoci|tests make images with it'
    'htpasswd|apache2-utils|tests give that registry passwords'
    'chromium|chromium|tests open the review page of a diff in it'
)

missing=()
for need in "${needs[@]}"; do
    IFS='|' read -r what package why <<<"$need"
    if [[ $what == /* ]]; then
        [[ -e $what ]] && continue
    else
        command -v "$what" >/dev/null && continue
    fi
    echo "setup: $package is missing: $why" >&2
    missing+=("$package")
done

if ! command -v cargo >/dev/null && [[ ! -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
    echo "setup: there is no Rust toolchain (cargo); install one as https://rustup.rs says, then run this again" >&2
    exit 1
fi
if [[ ${#missing[@]} -eq 0 ]]; then
    exit 0
fi
if [[ ${1:-} == --check ]]; then
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "setup: this is no Debian host; install with its own package manager: ${missing[*]}" >&2
    exit 1
fi

root=()
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    root=(sudo)
fi
install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}")
echo "setup: ${install[*]}" >&2
# The lists this host has may do, or be too old or not there at all.
if ! "${install[@]}" >&2; then
    echo "setup: ${root[*]:+${root[*]} }apt-get update" >&2
    "${root[@]}" apt-get update --quiet >&2
    "${install[@]}" >&2
fi
