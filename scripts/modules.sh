#!/usr/bin/env bash
# Each module by itself: a workspace hides a missing or a wrong requirement.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
want=$(awk '$1 == "go" {print $2}' go.work)
dirs=$(go list -m -f '{{.Dir}}')
failed=0
while read -r dir; do
  echo "${dir#"$PWD/"}"
  have=$(awk '$1 == "go" {print $2}' "$dir/go.mod")
  if [ "$have" != "$want" ]; then
    echo "  go.mod says go $have, go.work says go $want" >&2
    failed=1
  fi
  (cd "$dir" && GOWORK=off go build ./... && GOWORK=off go mod tidy -diff) || failed=1
done <<<"$dirs"
exit $failed
