#!/bin/sh
# emacs.sh: `.editors/bin/emacs`, Debian's, unpacked below .editors/emacs, unless this machine has one on its PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
place=$(cd "$here/../../.." && pwd)/.editors
command -v emacs > /dev/null && exit 0
[ "$place/bin/emacs" -nt "$0" ] && exit 0

root=$place/emacs/root
sh "$here/debs.sh" "$root" emacs-nox
share=$(echo "$root"/usr/share/emacs/[0-9]*)
libexec=$(echo "$root"/usr/libexec/emacs/[0-9]*/*)
mkdir -p "$place/bin"
# Emacs looks for its own files where it was built to be; these variables say where they are instead.
cat > "$place/bin/emacs" <<WRAPPER
#!/bin/sh
export EMACSLOADPATH='$(find "$share/lisp" -type d | paste -s -d :)'
export EMACSDATA='$share/etc' EMACSDOC='$share/etc' EMACSPATH='$libexec'
export LD_LIBRARY_PATH='$root/usr/lib/$(uname -m)-linux-gnu'
exec '$root/usr/bin/emacs-nox' --dump-file='$libexec/emacs.pdmp' "\$@"
WRAPPER
chmod +x "$place/bin/emacs"
