# Builds the guest's small kernel from Debian's source package with Debian's compiler; $1 is the root.
# PYRO_CONFIG is the configuration. The same source, compiler and configuration give the same bytes.
set -eu
out=$1/.pyro
mkdir -m 755 "$out" "$1/build"
tar -xJf "$1"/usr/src/linux-source-*.tar.xz -C "$1/build" --strip-components=1
printf '%s' "$PYRO_CONFIG" >"$1/build/small.config"
export KBUILD_BUILD_USER=pyro KBUILD_BUILD_HOST=pyro KBUILD_BUILD_TIMESTAMP="@$SOURCE_DATE_EPOCH"
chroot "$1" sh -euc '
    cd /build
    KCONFIG_ALLCONFIG=small.config make -s allnoconfig
    # An option that is gone, or needs another one, would be left out without a word.
    grep ^CONFIG_ small.config | while read -r line; do
        grep -qxF "$line" .config || { echo "E: the kernel does not take $line" >&2; exit 1; }
    done
    make -j"$(nproc)" vmlinux
    strip -s -o /.pyro/vmlinux vmlinux
    make -s kernelrelease >/.pyro/release
    dpkg-query -W -f "\${source:Version}" "linux-source-*.*" >/.pyro/version
'
chmod -R a+rX "$out"
