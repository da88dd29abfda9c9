#!/bin/sh
# suite.sh SUITE PACKAGE…: packages of another Debian suite than this machine's (bookworm, trixie, sid), with all they
# need down to libc, unpacked below .editors/SUITE.
# Nothing is installed and root is not needed: apt gets a state of its own, in which nothing is installed.
set -eu
here=$(cd "$(dirname "$0")/../../.." && pwd)
suite=$1
shift
root=$here/.editors/$suite
apt=$here/.editors/apt-$suite
keys=/usr/share/keyrings/debian-archive-keyring.gpg

# The mirror this machine has its own packages from; any Debian mirror has all suites.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1)}
if [ -z "$mirror" ] || [ ! -e "$keys" ]; then
    echo "suite.sh: this is no Debian machine that knows a mirror; set DEBIAN_MIRROR, and install debian-archive-keyring" >&2
    exit 1
fi

mkdir -p "$apt/etc" "$apt/lists/partial" "$apt/cache/archives/partial" "$root"
: > "$apt/status"
echo "deb [signed-by=$keys] $mirror $suite main" > "$apt/etc/sources.list"

get() {
    # -o …::User=…: apt drops to nobody of its own accord, who may not write here
    apt-get -qq -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt/cache" -o Dir::Etc::sourcelist="$apt/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
        -o APT::Install-Recommends=false "$@"
}

get update
get install --yes --download-only "$@"
for package in "$apt"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink
done
rm -rf "$apt"
