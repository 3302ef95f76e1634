#!/usr/bin/env bash
# Makes what the benchmark works on, in DIR. What is there already is kept.
#
#   corpora.sh DIR NAME...          BENCH_QUICK=1: a few thousand files in all, to try the benchmark itself
#
#   source     a kernel source tree: 78,000 small files, 0.9 GB; with it come
#     source_v2       its next version, edited in place: 1 % of the files changed in the middle, 50 added,
#                     50 deleted, 1 KiB inserted into the largest. Unchanged files are the same inodes.
#     source_v2_copy  a copy of that: the same names, content and times on other inodes
#     small           100 files of `source`
#     seed            `source` and `source_v2` as two commits of a packed git repository, the first checked
#                     out, its index clean
#   node       the installed packages of a large web application: 102,000 files, 0.9 GB
#   binary     40 large files: shared libraries, archives of objects, executables, a tar of `source`; 1.9 GB
#   many       a million files of up to 2 KiB in 4,000 directories, made up but always the same
#   large      one file of 10 GB, text, numbers and noise in turn, made up but always the same
#   dirs       a git repository of 256,000 directories with a small file in each; with it comes
#     dirs_few        the same of 100 directories
#
# Needs apt-get, git and python3; npm for `node`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
corpora=$(cd "$1" && pwd)
shift
quick=${BENCH_QUICK:-}

# A run that was killed leaves a corpus under another name (rounds.py).
if [[ -f $corpora/shown.name && -d $corpora/shown ]]; then
    mv "$corpora/shown" "$corpora/$(cat "$corpora/shown.name")"
fi
rm -f "$corpora/shown.name"

making=$(mktemp -d "$corpora/.making.XXXXXX")
trap 'rm -rf "$making"' EXIT

# Begins a corpus in a directory of its own; it gets its name when it is whole.
begin() {
    echo "corpora: making $1 ($2)" >&2
    mkdir -p "$making/$1"
    cd "$making/$1"
}
missing() { [[ ! -d $corpora/$1 ]]; }
finish() {
    cd "$making"
    mv "$1" "$corpora/"
}
unpack() { # PACKAGE DIR
    # apt drops its rights to download, and may not write here.
    apt-get -o APT::Sandbox::User=root download -qq "$1"
    dpkg-deb -x "$1"_*.deb "$2"
    rm "$1"_*.deb
}
git_seed() {
    git -c gc.auto=0 -c core.autocrlf=false -c user.name=bench -c user.email=bench@localhost -C "$corpora/seed" "$@"
}

make_source() {
    begin source "Debian's linux-source-6.1"
    if [[ $quick ]]; then
        "$here/corpora.sh" "$(dirname "$corpora")" source >&2
        cp -a "$(dirname "$corpora")/source/fs" .
    else
        cd "$making"
        unpack linux-source-6.1 package
        tar -xJf package/usr/src/linux-source-6.1.tar.xz -C source --strip-components=1
        # Generated register tables: 300 MB in a few files.
        rm -rf source/drivers/gpu/drm/amd/include/asic_reg
        # Its `/*` would have every git ignore all of it.
        rm source/.gitignore
    fi
    # One made from another `source` would be no next version of this one.
    rm -rf "$corpora/source_v2" "$corpora/source_v2_copy" "$corpora/seed"
    finish source
}

make_seed() {
    begin seed "a git repository"
    cp -a "$corpora/source/." .
    finish seed
    git_seed init -q
    git_seed add -A -f
    git_seed commit -q -m first
}

# The second commit, made beside the index that belongs to the first.
second_commit() {
    echo "corpora: the next version of seed" >&2
    local index=$making/second.index tree
    GIT_INDEX_FILE=$index git_seed --work-tree "$corpora/source_v2" add -A -f
    tree=$(GIT_INDEX_FILE=$index git_seed write-tree)
    git_seed update-ref refs/tags/second "$(git_seed commit-tree -p HEAD -m second "$tree")"
    git_seed update-ref refs/tags/first HEAD
    git_seed repack -a -d -q --window=0
}

source_family() {
    ! missing source || make_source
    if missing source_v2; then
        begin source_v2 "source, edited"
        cp -al "$corpora/source/." .
        python3 "$here/make_v2.py" .
        finish source_v2
    fi
    if missing source_v2_copy; then
        begin source_v2_copy "source_v2 on other inodes"
        cp -a "$corpora/source_v2/." .
        finish source_v2_copy
    fi
    if missing small; then
        begin small "100 files of source"
        (cd "$corpora/source" && find fs -type f | LC_ALL=C sort | awk 'NR % 20 == 0' | head -n 100 | tar -cf - -T -) |
            tar -xf -
        finish small
    fi
    ! missing seed || make_seed
    git_seed rev-parse -q --verify refs/tags/second >/dev/null || second_commit
}

make_dirs() { # NAME COUNT
    begin "$1" "a git repository of $2 directories"
    python3 "$here/generate.py" dirs . "$2"
    git -c init.defaultBranch=main init -q
    git -c gc.auto=0 -c user.name=bench -c user.email=bench@localhost add -A
    git -c gc.auto=0 -c user.name=bench -c user.email=bench@localhost commit -q -m first
    git repack -a -d -q --window=0
    git update-index -q --refresh
    finish "$1"
}

make_node() {
    begin node "npm install of bench/web_app.json"
    if [[ $quick ]]; then
        cp -a "$(dirname "$corpora")/source/scripts" .
    else
        cp "$here/web_app.json" package.json
        npm install --no-audit --no-fund --ignore-scripts --loglevel=error >&2
    fi
    finish node
}

make_binary() {
    begin binary "the largest files of some Debian packages"
    missing source && source_family
    if [[ ! $quick ]]; then
        local number=0 file
        for package in libllvm14 libllvm15 llvm-14-dev chromium; do
            (cd "$making" && unpack "$package" unpacked) || echo "corpora: no package $package" >&2
        done
        while IFS= read -r file; do
            number=$((number + 1))
            cp "$file" "$(printf '%02d-%s' "$number" "$(basename "$file")")"
        done < <(find "$making/unpacked" -type f -size +2M -printf '%s %p\n' | sort -k1,1rn -k2 | sed -n '1,39s/^[0-9]* //p')
        rm -rf "$making/unpacked"
    fi
    tar --sort=name -cf source.tar -C "$corpora" source
    finish binary
}

for name; do
    case $name in
        source) source_family ;;
        node) ! missing node || make_node ;;
        binary) ! missing binary || make_binary ;;
        many)
            if missing many; then
                begin many "a million small files"
                python3 "$here/generate.py" many . "$([[ $quick ]] && echo 4000 || echo 1000000)"
                finish many
            fi
            ;;
        large)
            if missing large; then
                begin large "one large file"
                python3 "$here/generate.py" large . "$([[ $quick ]] && echo 100 || echo 10000)"
                finish large
            fi
            ;;
        dirs)
            ! missing dirs_few || make_dirs dirs_few 100
            ! missing dirs || make_dirs dirs "$([[ $quick ]] && echo 2000 || echo 256000)"
            ;;
        *)
            echo "corpora: there is no corpus '$name': source, node, binary, many, large or dirs" >&2
            exit 2
            ;;
    esac
done
