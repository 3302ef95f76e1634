# Fetches Debian's kernel with the apt of the build, which checks signatures; $1 is the root. PYRO_KERNELS
# lists the versions that are installed already.
set -eu
out=$1/.pyro
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
package=$(apt-cache depends --important linux-image-cloud-amd64 |
    sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "E: linux-image-cloud-amd64 names no kernel" >&2; exit 1; }
version=$(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p' | head -n 1)
echo "pyro: $package ($version)"
printf '%s' "$version" >"$out/kernel-version"
case " $PYRO_KERNELS " in *" $version "*) exit 0 ;; esac
mkdir "$out/deb" "$out/kernel"
cd "$out/deb"
apt-get download "$package"
dpkg-deb -x ./*.deb "$out/kernel"
chmod -R a+rX "$out/kernel"
