#!/usr/bin/env bash
# The Helm chart: lints, renders every values file under ci/, holds what its comments promise, and refuses wrong values.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v helm >/dev/null; then
  echo "SKIPPED: there is no helm here, so the chart was neither linted nor rendered (https://helm.sh/docs/intro/install)" >&2
  exit 0
fi
# The oldest Kubernetes that the chart says it runs on.
chart=helm/linkpulse out=.tmp/chart oldest=1.30.0 tests=0 failed=0
mkdir -p "$out"
render() { helm template release "$chart" --namespace linkpulse --kube-version "$oldest" "$@"; }
complain() { echo "FAIL: $*" >&2; failed=1; }

for values in "$chart"/ci/*-values.yaml; do
  name=$(basename "$values" -values.yaml)
  helm lint --strict --quiet "$chart" --kube-version "$oldest" --values "$values" || complain "$values does not lint"
  render --values "$values" >"$out/$name.yaml" || complain "$values does not render"
  tests=$((tests + 1))
done

# holds FILE COUNT TEXT: the rendering of FILE has TEXT on exactly COUNT lines.
holds() {
  local got
  got=$(grep -cF -- "$3" "$out/$1.yaml" || true)
  [ "$got" = "$2" ] || complain "$1: '$3' is on $got lines, not on $2"
  tests=$((tests + 1))
}
# What a restricted namespace asks of each of the three pods.
for text in 'runAsNonRoot: true' 'type: RuntimeDefault' 'allowPrivilegeEscalation: false' 'drop: [ALL]' \
  'readOnlyRootFilesystem: true' 'enableServiceLinks: false'; do
  holds minimal 3 "$text"
done
holds minimal 4 'automountServiceAccountToken: false'
holds minimal 1 'terminationGracePeriodSeconds: 25' # gateway: 5 + 10 + 10
holds minimal 1 'terminationGracePeriodSeconds: 30' # ingest: 5 + 15 + 10
holds full 1 'terminationGracePeriodSeconds: 65'
holds full 1 'terminationGracePeriodSeconds: 48'
holds full 2 'preStop:'
holds one-broker 0 'preStop:'
holds minimal 1 'kind: Job'
holds topic-elsewhere 0 'kind: Job'
holds minimal 1 'clusterIP: None'
holds full 3 'secretName: kafka-tls'
holds full 3 'scram-sha-512'
holds full 1 "registry.example.com/mirror/linkpulse/ingest:1.2.3"
holds full 1 "registry.example.com/mirror/linkpulse/gateway@sha256:"

holds full 1 'value: https://dash.example.com,https://*.example.org'
holds full 1 'value: "50000"'
holds minimal 1 '{name: INGEST_REDIS_ADDRS, value: "redis:6379"}'
holds minimal 1 '{name: GATEWAY_REDIS_ADDRS, value: "redis:6379"}'
holds minimal 0 'REDIS_TLS'
holds full 2 '_REDIS_MASTER_NAME, value: "totals"'
holds full 2 '_REDIS_PASSWORD_FILE, value: /etc/linkpulse/redis-auth/password'
holds full 2 'secretName: redis-tls' # the init Job needs no Redis
after() { grep -A1 -F -- "name: $2" "$out/$1.yaml" | grep -qF -- "value: $3" || complain "$1: $2 is not $3"; tests=$((tests + 1)); }
after minimal GATEWAY_AUTH '"off"'
after full GATEWAY_AUTH jwt
after full GATEWAY_AUTH_AUDIENCE dash
after full GATEWAY_AUTH_ISSUER https://login.example.com
after full GATEWAY_AUTH_JWKS_URL https://login.example.com/keys
after full GATEWAY_AUTH_KEY_FILES /etc/linkpulse/auth-keys
after full GATEWAY_AUTH_SECRET_FILE /etc/linkpulse/auth-secret/hs256
after full GATEWAY_TRUSTED_PROXIES 10.0.0.0/8,2001:db8::/32
holds full 1 'secretName: signing-keys'
holds full 1 'secretName: signing-secret'
holds full 2 '/etc/linkpulse/auth-keys'
holds minimal 0 'auth-keys'
holds topic-elsewhere 0 'auth-keys'
holds topic-elsewhere 1 'secretName: signing-secret'
after minimal INGEST_AUTH '"off"'
after full INGEST_AUTH keys
after full INGEST_KEYS_FILE /etc/linkpulse/ingest-keys/clickers.json
after topic-elsewhere INGEST_KEYS_FILE /etc/linkpulse/ingest-keys/keys.json
holds full 2 '/etc/linkpulse/ingest-keys'
holds full 1 'secretName: clickers'
holds topic-elsewhere 1 'secretName: clickers'
holds minimal 0 'ingest-keys'
# refuses REASON ARGUMENTS...: rendering fails, and the message matches REASON. The schema's messages are worded
# differently by Helm 3 and 4, so a reason names what both say.
refuses() {
  local reason=$1 message
  shift
  if message=$(render --values "$chart/ci/minimal-values.yaml" "$@" 2>&1 >/dev/null); then
    complain "accepted: $*"
  elif ! grep -qiE -- "$reason" <<<"$message"; then
    complain "$* was refused, but not because of '$reason': $message"
  fi
  tests=$((tests + 1))
}
refuses "replica'? (is )?not allowed" --set ingest.replica=3
refuses "gatway'? (is )?not allowed" --set gatway.replicas=3
refuses "broker'? (is )?not allowed" --set kafka.broker=x:9092
refuses "enable'? (is )?not allowed" --set kafka.tls.enable=true
refuses "mechanisms'? (is )?not allowed" --set kafka.sasl.mechanisms=plain
refuses "portt'? (is )?not allowed" --set gateway.service.portt=80
refuses "request'? (is )?not allowed" --set ingest.resources.request.cpu=1
refuses "partition'? (is )?not allowed" --set topic.partition=3
refuses "digests'? (is )?not allowed" --set topic.image.digests=x
refuses "pullSecret'? (is )?not allowed" --set image.pullSecret=x
refuses "values'? (is )?not allowed" --set 'gateway.extraEnv[0].name=A' --set 'gateway.extraEnv[0].values=b'
refuses "ingest[/.]replicas" --set ingest.replicas=many
refuses "kafka[/.]brokers[/.]0" --set 'kafka.brokers={kafka}'
refuses "kafka[/.]sasl[/.]mechanism" --set kafka.sasl.mechanism=GSSAPI
refuses "gateway[/.]origins" --set 'gateway.origins={dash.example.com}'
refuses "topic[/.]create" --set topic.create=strimzi
refuses "ingest[/.]image[/.]digest" --set ingest.image.digest=sha256:abc
refuses "kafka.brokers is empty" --set kafka.brokers=null
refuses "existingSecret must name" --set kafka.sasl.mechanism=scram-sha-256
refuses "sends the password as it is" --set kafka.sasl.mechanism=plain,kafka.sasl.existingSecret=s
refuses "in the clear" --set kafka.tls.existingSecret=s
refuses "belong together" --set kafka.tls.enabled=true,kafka.tls.existingSecret=s,kafka.tls.certKey=c
refuses "what to take from it" --set kafka.tls.enabled=true,kafka.tls.existingSecret=s,kafka.tls.caKey=
refuses "redis.addrs is empty" --set redis.addrs=null
refuses "redis[/.]addrs[/.]0" --set 'redis.addrs={redis}'
refuses "addr'? (is )?not allowed" --set redis.addr=x:6379
refuses "contradict each other" --set redis.cluster=true,redis.sentinelMaster=m
refuses "redis.tls.enabled is false" --set redis.tls.existingSecret=s
refuses "redis.auth.existingSecret must name" --set redis.auth.usernameKey=u
refuses "gateway.auth.mode is not set" --set gateway.auth.mode=
refuses "gateway[/.]auth[/.]mode" --set gateway.auth.mode=off
refuses "gateway[/.]auth[/.]mode" --set gateway.auth.mode=basic
refuses "which keys sign tokens" --set gateway.auth.mode=jwt
refuses "nobody would look at tokens" --set gateway.auth.keys.existingSecret=s
refuses "whose tokens are meant" --set gateway.auth.mode=jwt,gateway.auth.jwksURL=https://a/keys
refuses "gateway[/.]auth[/.]jwksURL" --set gateway.auth.mode=jwt,gateway.auth.jwksURL=http://a/keys
refuses "key'? (is )?not allowed" --set gateway.auth.key=s
refuses "gateway[/.]trustedProxies" --set 'gateway.trustedProxies={proxy}'
refuses "ingest.auth.mode is not set" --set ingest.auth.mode=
refuses "must name the secret with the file of keys" --set ingest.auth.mode=keys
refuses "nobody would look at them" --set ingest.auth.existingSecret=s
refuses "ingest[/.]auth[/.]mode" --set ingest.auth.mode=off
refuses "modes'? (is )?not allowed" --set ingest.auth.modes=off
refuses "no click could ever be acknowledged" --set topic.replicationFactor=1
refuses "kubeVersion" --kube-version 1.29.0

[ "$failed" = 0 ] && echo "$tests checks of the chart hold ($(helm version --short))"
