#!/usr/bin/env bash
# The gateway's page: its types, and the tests of what it computes. Wants Node and npm; neither is needed to build.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
typescript=7.0.2
page=services/gateway/internal/web
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "SKIPPED: there is no Node here, so the page's types and tests were not checked" >&2
  exit 0
fi
tsc=.tmp/npm/typescript/node_modules/.bin/tsc
if [ "$($tsc --version 2>/dev/null)" != "Version $typescript" ]; then
  echo "installing typescript $typescript from npm (a few seconds, once)" >&2
  npm install --silent --no-audit --no-fund --no-save --prefix .tmp/npm/typescript "typescript@$typescript" >&2
fi
$tsc --project $page/tsconfig.json
mkdir -p .tmp/page
for test in "$page"/src/*.test.ts; do
  bundle=.tmp/page/$(basename "$test" .ts).mjs
  esbuild "$test" --bundle --platform=node --format=esm --outfile="$bundle" --log-level=warning
  node --test "$bundle" >.tmp/page/report || { cat .tmp/page/report; exit 1; }
  echo "$(basename "$test"): $(sed -n 's/^# pass //p' .tmp/page/report) tests"
done
