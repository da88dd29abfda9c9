#!/bin/sh
# setup-rust.sh: Rust, Cargo and the standard library of wasm32-unknown-unknown, from the packages of this Debian, as
# .editors/bin/cargo; 110 MB to fetch, 540 MB unpacked. Nothing is installed and root is not needed. For machines whose
# own Rust has no WASM target, which is the better way: rustup target add wasm32-unknown-unknown.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
root=$here/.editors/rust
stamp=$here/.editors/rust.stamp
[ ! -e "$stamp" ] || [ "$here/tests/setup-rust.sh" -nt "$stamp" ] || exit 0
own=$(rustc --print target-libdir --target wasm32-unknown-unknown 2> /dev/null) || own=
[ -z "$own" ] || [ ! -d "$own" ] || exit 0
if ! command -v apt-get > /dev/null; then
    echo "setup-rust.sh: this is no Debian machine; rustup target add wasm32-unknown-unknown" >&2
    exit 1
fi

rm -rf "$root"
sh "$here/tests/editors/setup/debs.sh" "$root" rustc cargo libstd-rust-dev-wasm32 lld
triplet=$(basename "$(dirname "$(find "$root/usr/lib" -name 'librustc_driver-*.so' | head -n 1)")")
mkdir -p "$here/.editors/bin"
cat > "$here/.editors/bin/cargo" << END
#!/bin/sh
export PATH='$root/usr/bin':"\$PATH" LD_LIBRARY_PATH='$root/usr/lib/$triplet:$root/lib/$triplet'
exec '$root/usr/bin/cargo' "\$@"
END
chmod +x "$here/.editors/bin/cargo"
"$here/.editors/bin/cargo" --version > /dev/null
touch "$stamp"
