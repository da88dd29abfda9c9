#!/bin/sh
# terminal.sh: Neovim 0.7 (the oldest that must not break), 0.10 and the newest, Vim 9 and Helix, as .editors/bin/NAME.
# They run with the libc they were built with, beside whatever this machine has.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../../.." && pwd)
stamp=$here/.editors/terminal.stamp
# Made anew when this file or the other changed.
[ ! -e "$stamp" ] || [ "$setup/terminal.sh" -nt "$stamp" ] || [ "$setup/suite.sh" -nt "$stamp" ] || exit 0

# wrap NAME SUITE PROGRAM [VARIABLE=FOLDER]…: .editors/bin/NAME runs a program of a suite; FOLDER is below the suite.
wrap() {
    name=$1 root=$here/.editors/$2 program=$3
    shift 3
    loader=$(find "$root/lib64" "$root/usr/lib64" "$root/lib" "$root/usr/lib" -maxdepth 2 -name 'ld-linux*.so.*' 2> /dev/null | head -n 1)
    libraries=$(dirname "$(find "$root" -name 'libc.so.6' | head -n 1)")
    triplet=$(basename "$libraries")
    {
        echo '#!/bin/sh'
        for pair in "$@"; do
            echo "export ${pair%%=*}='$root/${pair#*=}'"
        done
        echo "exec '$loader' --library-path '$root/usr/lib/$triplet:$root/lib/$triplet' --argv0 $(basename "$program") '$root/$program' \"\$@\""
    } > "$here/.editors/bin/$name"
    chmod +x "$here/.editors/bin/$name"
    # The loader must know what it loads before anyone waits for it in a test.
    "$here/.editors/bin/$name" --version > /dev/null
}

mkdir -p "$here/.editors/bin"
rm -rf "$here/.editors/bookworm" "$here/.editors/trixie" "$here/.editors/sid"
sh "$setup/suite.sh" bookworm neovim vim
sh "$setup/suite.sh" trixie neovim
sh "$setup/suite.sh" sid neovim hx
wrap nvim-oldest bookworm usr/bin/nvim VIMRUNTIME=usr/share/nvim/runtime
wrap nvim-stable trixie usr/bin/nvim VIMRUNTIME=usr/share/nvim/runtime
wrap nvim-newest sid usr/bin/nvim VIMRUNTIME=usr/share/nvim/runtime
wrap vim bookworm usr/bin/vim.basic VIMRUNTIME=usr/share/vim/vim90
wrap hx sid usr/bin/hx HELIX_RUNTIME=usr/share/helix/runtime
touch "$stamp"
