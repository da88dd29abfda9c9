#!/bin/sh
# debs.sh FOLDER PACKAGE…: Debian packages, with what they need and this machine lacks, unpacked below FOLDER.
# Nothing is installed and root is not needed: apt gets its own lists and cache in .editors/apt, and the packages come
# from the sources this machine has anyway.
set -eu
apt=$(cd "$(dirname "$0")/../../.." && pwd)/.editors/apt
folder=$1
shift
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$folder"
exec 9> "$apt/lock"
flock 9

get() {
    # APT::Sandbox::User: of its own accord apt fetches as _apt, who may not write here.
    apt-get -qq -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# One source of this machine that does not answer is no reason to stop: a package that is missing then will be.
[ -e "$apt/updated" ] || { get update || true; touch "$apt/updated"; }
rm -f "$apt"/archives/*.deb
get install --yes --no-install-recommends --download-only "$@"
for deb in "$apt"/archives/*.deb; do
    [ -e "$deb" ] || break # all of it is installed already
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$folder" --keep-directory-symlink
done
rm -f "$apt"/archives/*.deb
