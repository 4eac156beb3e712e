#!/usr/bin/env bash
# Syntax of every shell script, and shellcheck where it is installed.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard | while read -r file; do
  if [ -f "$file" ] && head -c 32 "$file" | head -n 1 | grep -qa '^#!.*\bbash$'; then echo "$file"; fi
done)
for script in "${scripts[@]}"; do
  bash -n "$script"
  [ -x "$script" ] || { echo "$script is not executable" >&2; exit 1; }
done
if command -v shellcheck >/dev/null; then
  shellcheck "${scripts[@]}"
  echo "${#scripts[@]} scripts, shellcheck included"
else
  echo "SKIPPED: there is no shellcheck here; ${#scripts[@]} scripts were checked for syntax only" >&2
fi
