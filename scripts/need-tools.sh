#!/usr/bin/env bash
# The tests clone from a local Hub with the real git and git-lfs, and publish to the real
# docker-registry, with skopeo as witness. Installs them where Debian's apt-get can, and says what
# to do elsewhere.
set -euo pipefail

present() {
  git --version && git lfs version && command -v docker-registry && skopeo --version && openssl version
} >/dev/null 2>&1

present && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo -n)
fi

if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; then
  "${as_root[@]}" apt-get update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    git git-lfs docker-registry skopeo openssl
fi

if ! present; then
  echo "The tests need git, git-lfs, docker-registry, skopeo and openssl." >&2
  echo "  Debian, Ubuntu: sudo apt-get install git git-lfs docker-registry skopeo openssl" >&2
  echo "  macOS:          brew install git git-lfs skopeo openssl; and the registry of CNCF's" >&2
  echo "                  distribution, built from source, in the PATH as docker-registry" >&2
  exit 1
fi
