# Packs the root $1 into $1/.pyro/root.erofs, so that the same packages give the same bytes; $2 is the time
# stamp for what the build itself wrote. Files from packages keep theirs: compiled Python refers to them.
set -eu
cd "$1"
for dir in dev run tmp; do
    find "$dir" -xdev -mindepth 1 -delete
done
rm -rf var/lib/apt/lists/* var/cache/apt/*.bin var/cache/ldconfig/aux-cache
rm -f etc/machine-id var/lib/dbus/machine-id etc/resolv.conf
find var/log -type f -delete
find . -xdev -path ./.pyro -prune -o -newer .pyro/start -print0 | xargs -0 touch -h -d "@$2"
# mkfs.erofs puts this time into the superblock, and lowers later times of files to it: there are none.
SOURCE_DATE_EPOCH=$(find . -xdev -path ./.pyro -prune -o -printf '%Ts\n' | sort -n | tail -n 1)
export SOURCE_DATE_EPOCH
mkfs.erofs -U 70797230-0000-4000-8000-000000000000 --exclude-path=.pyro .pyro/root.erofs .
chmod a+r .pyro/root.erofs
