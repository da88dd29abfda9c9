#!/bin/sh
# claude.sh: Claude Code, which judges our plugin for it, as .editors/bin/claude.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../../.." && pwd)
home=$here/.editors/claude
[ ! -e "$home/stamp" ] || [ "$setup/claude.sh" -nt "$home/stamp" ] || exit 0
mkdir -p "$home" "$here/.editors/bin"
npm install --prefix "$home" --no-audit --no-fund --loglevel=error @anthropic-ai/claude-code@2.1.330
ln -sf "$home/node_modules/.bin/claude" "$here/.editors/bin/claude"
touch "$home/stamp"
