# Runs once the packages are installed; $1 is the root. Only settings: what mmdebstrap itself leaves behind
# (package lists, caches, host name, resolver) it removes afterwards, and pack.sh the rest.
set -eu
root=$1
mkdir -p "$root/workspace"
echo pyro >"$root/etc/hostname"
printf '127.0.0.1 localhost pyro\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
printf 'LANG=C.UTF-8\n' >"$root/etc/default/locale"
# The workspace's files come and go with new inodes and change times; without these git would read all
# of them again, and refuse repositories owned by another user.
printf '[core]\n\tcheckStat = minimal\n\ttrustctime = false\n[safe]\n\tdirectory = *\n' >"$root/etc/gitconfig"
