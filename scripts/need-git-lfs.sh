#!/usr/bin/env bash
# The tests clone from a local Hub with the real git and git-lfs. Installs them where Debian's
# apt-get can, and says what to do elsewhere.
set -euo pipefail

present() { git --version && git lfs version; } >/dev/null 2>&1

present && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo -n)
fi

if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; then
  "${as_root[@]}" apt-get update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y git git-lfs
fi

if ! present; then
  echo "The tests need git and git-lfs." >&2
  echo "  Debian, Ubuntu: sudo apt-get install git git-lfs" >&2
  echo "  macOS:          brew install git git-lfs" >&2
  exit 1
fi
