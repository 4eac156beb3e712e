#!/usr/bin/env bash
# Installs WebSocket clients that other people wrote into .tmp/peers, for the tests that hold the gateway against them. Where
# there is no npm or no pip those tests are skipped and say so, so this never fails for want of them.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ws=8.23.0 websockets=17.4
peers=.tmp/peers
mkdir -p $peers

if ! command -v npm >/dev/null; then
  echo "there is no npm: the gateway is not tested against ws" >&2
elif ! grep -qs "\"version\": \"$ws\"" $peers/node_modules/ws/package.json; then
  echo "installing ws $ws from npm (a few seconds, once)" >&2
  npm install --silent --no-audit --no-fund --no-save --prefix $peers "ws@$ws" >&2
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  echo "there is no pip: the gateway is not tested against websockets" >&2
elif ! [ -d "$peers/python/websockets-$websockets.dist-info" ]; then
  echo "installing websockets $websockets from PyPI (a few seconds, once)" >&2
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade --target $peers/python "websockets==$websockets" >&2
fi
