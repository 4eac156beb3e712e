#!/usr/bin/env bash
# Runs `make gen` and fails when a file of the work tree changes by it, new files included. It compares the tree before
# with the tree after, so that uncommitted work does not matter.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
index=$(mktemp -d)
trap 'rm -rf "$index"' EXIT

tree() { # the work tree as a git tree, without touching the real index
  cp "$(git rev-parse --git-path index)" "$index/index"
  GIT_INDEX_FILE=$index/index git add --all
  GIT_INDEX_FILE=$index/index git write-tree
}

before=$(tree)
make --no-print-directory gen
after=$(tree)
if ! git diff --exit-code --stat -p "$before" "$after"; then
  echo "generated files were stale: run 'make gen' and commit what it changes" >&2
  exit 1
fi
