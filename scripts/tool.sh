#!/usr/bin/env bash
# Installs one pinned tool into .tmp/bin, and does nothing where it is already there: a binary carries its own version
# and the Go version that built it, so there is no stamp that could disagree with it.
#
#   scripts/tool.sh PACKAGE@VERSION HINT     HINT says how long it takes, for whoever waits
#   scripts/tool.sh buf@VERSION HINT         buf comes as a binary from npm where there is npm, and is compiled otherwise
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
package=${1%@*} version=${1#*@} hint=$2
name=${package##*/}
mkdir -p .tmp/bin

installed() { # installed PROGRAM: was it built from this version by this Go?
  local have
  have=$(go version -m "$1" 2>/dev/null) || return 1
  [[ ${have%%$'\n'*} == *": $(go env GOVERSION)" ]] && grep -q $'^\tmod\t.*\t'"${version//./\\.}"$'\t' <<<"$have"
}

go_install() {
  installed ".tmp/bin/$name" && return
  echo "installing $name $version ($hint, once)" >&2
  GOBIN=$PWD/.tmp/bin GOWORK=off GOFLAGS='' go install "$1@$version"
}

if [ "$package" != buf ]; then
  go_install "$package"
elif ! [ "v$(.tmp/bin/buf --version 2>/dev/null)" = "$version" ]; then
  if command -v npm >/dev/null; then
    echo "installing buf $version from npm (a few seconds, once)" >&2
    npm install --silent --no-audit --no-fund --no-save --prefix .tmp/npm "@bufbuild/buf@${version#v}" >&2
    ln -sf ../npm/node_modules/.bin/buf .tmp/bin/buf
  else
    echo "there is no npm here, so buf is compiled" >&2
    go_install github.com/bufbuild/buf/cmd/buf
  fi
fi
