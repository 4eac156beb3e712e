#!/usr/bin/env bash
# Runs every fuzz target of the workspace in turn: scripts/fuzz.sh [DURATION]. A crasher is left under testdata/fuzz of
# its package, where it becomes a test.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
duration=${1:-10s} targets=() found=0 failed=0
# `go test -list` prints the names of a package's targets and then "ok <package> <time>".
list=$(go test -list='^Fuzz' work)
while read -r word package _; do
  case $word in
    Fuzz*) targets+=("$word") ;;
    ok)
      for target in "${targets[@]}"; do
        found=$((found + 1))
        echo "── $package $target for $duration"
        go test -run='^$' -fuzz="^$target\$" -fuzztime="$duration" "$package" || failed=1
      done
      targets=()
      ;;
  esac
done <<<"$list"
echo "$found fuzz targets"
[ "$found" -gt 0 ] && [ "$failed" -eq 0 ]
