#!/usr/bin/env bash
# Builds the gateway's page from src into dist, which is committed and embedded: `go build` needs no bundler.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../services/gateway/internal/web"
rm -rf dist
mkdir dist
esbuild src/main.ts --bundle --minify --format=esm --target=es2022 --charset=utf8 --outfile=dist/page.js --log-level=warning
esbuild src/page.css --minify --charset=utf8 --outfile=dist/page.css --log-level=warning
cp src/index.html src/icon.svg dist/
