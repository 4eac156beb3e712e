#!/usr/bin/env bash
# What no linter looks at: the fixed top level, a comment on every package, files that stay readable, and a lint rule for
# every package under a service's internal.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
max_lines=500
failed=0
complain() { echo "$*" >&2; failed=1; }

files() { git ls-files --cached --others --exclude-standard; }
top='.ci .dockerignore .editorconfig .gitattributes .github .gitignore .golangci.yml CONTRIBUTING.md LICENSE Makefile README.md deploy
go.work go.work.sum helm pkg proto scripts services'
for entry in $(files | cut -d/ -f1 | sort -u); do
  [[ " ${top//$'\n'/ } " == *" $entry "* ]] || complain "$entry: the top level is fixed; this belongs somewhere below it"
done
for entry in $top; do
  [ -e "$entry" ] || complain "$entry is missing"
done

undocumented=$(go list -f '{{if and (not .Doc) (or .GoFiles .CgoFiles)}}{{.ImportPath}}{{end}}' work)
for package in $undocumented; do
  complain "$package has no package comment"
done

while read -r file; do
  [ -f "$file" ] || continue
  grep -q -m1 '^// Code generated .* DO NOT EDIT\.$' "$file" && continue
  lines=$(wc -l <"$file")
  [ "$lines" -le $max_lines ] || complain "$file has $lines lines; split it by concern (at most $max_lines)"
done < <(files | grep -E '\.(go|ts|sh)$' || true)

for dir in services/{gateway,ingest}/internal/*/; do
  [ -d "$dir" ] || continue
  grep -qF "\${config-path}/${dir}**.go" .golangci.yml ||
    complain "$dir: .golangci.yml has no rule that keeps it apart from its siblings"
done
exit $failed
