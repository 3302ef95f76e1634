#!/usr/bin/env bash
# Makes what the benchmark works on, in DIR. What is there already is kept.
#
#   corpora.sh DIR
#
#   source     a kernel source tree: 78,000 small files, 0.9 GB
#   source_v2  its next version, edited in place: 1 % of the files changed in the middle, 50 added, 50
#              deleted, 1 KiB inserted into the largest. Unchanged files are the same inodes.
#   small      100 files of it
#   seed       `source` as a git repository, packed, its index clean
#
# Needs apt-get, git and python3.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
corpora=$(cd "$1" && pwd)
work=$(mktemp -d "$corpora/.making.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

if [[ ! -d $corpora/source || ! -d $corpora/source_v2 ]]; then
    echo "corpora: source (Debian's linux-source-6.1)" >&2
    rm -rf "$corpora/source" "$corpora/source_v2"
    apt-get download -qq linux-source-6.1
    dpkg-deb -x linux-source-6.1_*.deb package
    mkdir source
    tar -xJf package/usr/src/linux-source-6.1.tar.xz -C source --strip-components=1
    # Generated register tables: 300 MB in a few files.
    rm -rf source/drivers/gpu/drm/amd/include/asic_reg
    # Its `/*` would have every git ignore all of it.
    rm source/.gitignore
    cp -al source source_v2
    python3 "$here/make_v2.py" source_v2
    mv source source_v2 "$corpora/"
fi

if [[ ! -d $corpora/small ]]; then
    echo "corpora: small" >&2
    mkdir small
    (cd "$corpora/source" && find fs -type f | LC_ALL=C sort | awk 'NR % 20 == 0' | head -n 100 | tar -cf - -T -) |
        tar -xf - -C small
    mv small "$corpora/"
fi

if [[ ! -d $corpora/seed ]]; then
    echo "corpora: seed (a git repository)" >&2
    cp -a "$corpora/source" seed
    git() { command git -c gc.auto=0 -c core.autocrlf=false -c user.name=bench -c user.email=bench@localhost -C seed "$@"; }
    git init -q
    git add -A -f
    git commit -q -m "first"
    git repack -a -d -q --window=0
    mv seed "$corpora/"
fi

for name in source source_v2 small seed; do
    printf '%-10s %7d files\n' "$name" "$(find "$corpora/$name" -type f | wc -l)" >&2
done
