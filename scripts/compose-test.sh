#!/usr/bin/env bash
# Drives deploy/compose.yaml as a user would: builds the images, starts everything, posts a click, and sees it on both
# gateways. It takes over the ports of compose.yaml and removes all that it started, its data too.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! docker compose version >/dev/null 2>&1 || ! docker info >/dev/null 2>&1; then
  message="there is no Docker engine with Compose here, so the compose file was not driven"
  [ -z "${LINKPULSE_REQUIRE_DOCKER:-}" ] || { echo "FAIL: $message" >&2; exit 1; }
  echo "SKIPPED: $message" >&2
  exit 0
fi
compose() { docker compose --progress quiet --project-name linkpulse-test --file deploy/compose.yaml "$@"; }
work=$(mktemp -d)
finish() {
  local status=$?
  if [ $status -ne 0 ]; then
    compose ps --all >&2 || true
    compose logs --no-color --tail=40 >&2 || true
  fi
  jobs -p | xargs -r kill 2>/dev/null || true
  compose down --volumes --remove-orphans --timeout 20 >"$work/down.log" 2>&1 || cat "$work/down.log" >&2
  rm -rf "$work"
  exit $status
}
trap finish EXIT

echo "building the images and starting them (minutes the first time)"
# One image after the other: they share the stage that compiles, and the classic builder would compile it once for each.
COMPOSE_PARALLEL_LIMIT=1 compose build --quiet
compose up --wait --wait-timeout 120 --detach
go build -o "$work/linkpulse" ./services/linkpulse/cmd/linkpulse

# Two dashboards, one on each gateway, are shown a count of 0, and after a click a count of 1.
link=compose-$RANDOM$RANDOM
for port in 8081 8082; do
  timeout 90 "$work/linkpulse" watch --gateway "http://127.0.0.1:$port" --json --count 2 "$link" \
    >"$work/$port.json" 2>"$work/$port.log" &
done
shows() { # shows PORT COUNT: within half a minute
  for _ in $(seq 150); do
    if grep '"type":"update"' "$work/$1.json" | tail -n 1 | grep -q "\"link\":\"$link\",\"count\":$2,"; then return; fi
    sleep 0.2
  done
  echo "the gateway on $1 did not tell that $link has $2 clicks:" >&2
  cat "$work/$1.json" "$work/$1.log" >&2
  return 1
}
shows 8081 0
shows 8082 0
timeout 30 "$work/linkpulse" send --ingest http://127.0.0.1:8080 "$link"
shows 8081 1
shows 8082 1

echo "stopping: every program must end by itself, within its grace period, with status 0"
compose stop --timeout 20 ingest gateway-1 gateway-2
for service in ingest gateway-1 gateway-2; do
  code=$(docker inspect --format '{{.State.ExitCode}}' "$(compose ps --all --quiet "$service")")
  [ "$code" = 0 ] || { echo "$service ended with status $code" >&2; exit 1; }
done
echo "a click went through Kafka to both gateways"
