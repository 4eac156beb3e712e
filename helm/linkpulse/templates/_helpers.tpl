{{- define "linkpulse.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: a Deployment's selector is immutable. Call with (dict "root" $ "component" "gateway"). */}}
{{- define "linkpulse.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "linkpulse.labels" -}}
{{ include "linkpulse.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: linkpulse
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Call with (dict "root" $ "image" .Values.gateway.image). A digest wins over the tag. */}}
{{- define "linkpulse.image" -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .root.Chart.AppVersion .root.Values.image.tag }}{{ end -}}
{{- end -}}

{{/* What a pod needs to pass the "restricted" Pod Security Standard. */}}
{{- define "linkpulse.podSecurity" -}}
automountServiceAccountToken: false
# Service links put variables into the environment that begin like settings, and an unknown setting is refused.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "linkpulse.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* How a program reaches Kafka. Call with (dict "root" $ "prefix" "GATEWAY"). */}}
{{- define "linkpulse.kafkaEnv" -}}
{{- $kafka := .root.Values.kafka -}}
- {name: {{ .prefix }}_KAFKA_BROKERS, value: {{ join "," $kafka.brokers | quote }}}
{{- if $kafka.tls.enabled }}
- {name: {{ .prefix }}_KAFKA_TLS_ENABLE, value: "true"}
{{- if and $kafka.tls.existingSecret $kafka.tls.caKey }}
- {name: {{ .prefix }}_KAFKA_TLS_CA, value: /etc/linkpulse/kafka-tls/ca.crt}
{{- end }}
{{- if and $kafka.tls.existingSecret $kafka.tls.certKey }}
- {name: {{ .prefix }}_KAFKA_TLS_CERT, value: /etc/linkpulse/kafka-tls/tls.crt}
- {name: {{ .prefix }}_KAFKA_TLS_KEY, value: /etc/linkpulse/kafka-tls/tls.key}
{{- end }}
{{- end }}
{{- with $kafka.sasl }}
{{- if ne .mechanism "none" }}
- {name: {{ $.prefix }}_KAFKA_SASL_MECHANISM, value: {{ .mechanism }}}
- name: {{ $.prefix }}_KAFKA_SASL_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .usernameKey }}}}
- {name: {{ $.prefix }}_KAFKA_SASL_PASSWORD_FILE, value: /etc/linkpulse/kafka-sasl/password}
{{- end }}
{{- end }}
{{- end -}}

{{/* Secrets are files, so that they are in no environment and a rotated one is seen. */}}
{{- define "linkpulse.kafkaMounts" -}}
{{- $kafka := .Values.kafka -}}
{{- if and $kafka.tls.enabled $kafka.tls.existingSecret }}
- {name: kafka-tls, mountPath: /etc/linkpulse/kafka-tls, readOnly: true}
{{- end }}
{{- if ne $kafka.sasl.mechanism "none" }}
- {name: kafka-sasl, mountPath: /etc/linkpulse/kafka-sasl, readOnly: true}
{{- end }}
{{- end -}}

{{- define "linkpulse.kafkaVolumes" -}}
{{- $kafka := .Values.kafka -}}
{{- if and $kafka.tls.enabled $kafka.tls.existingSecret }}
- name: kafka-tls
  secret:
    secretName: {{ $kafka.tls.existingSecret }}
    defaultMode: 0440
    items:
      {{- with $kafka.tls.caKey }}
      - {key: {{ . }}, path: ca.crt}
      {{- end }}
      {{- with $kafka.tls.certKey }}
      - {key: {{ . }}, path: tls.crt}
      - {key: {{ $kafka.tls.keyKey }}, path: tls.key}
      {{- end }}
{{- end }}
{{- if ne $kafka.sasl.mechanism "none" }}
- name: kafka-sasl
  secret:
    secretName: {{ $kafka.sasl.existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ $kafka.sasl.passwordKey }}, path: password}
{{- end }}
{{- end -}}

{{/* How a program reaches Redis. Call with (dict "root" $ "prefix" "GATEWAY"). */}}
{{- define "linkpulse.redisEnv" -}}
{{- $redis := .root.Values.redis -}}
- {name: {{ .prefix }}_REDIS_ADDRS, value: {{ join "," $redis.addrs | quote }}}
- {name: {{ .prefix }}_REDIS_PREFIX, value: {{ $redis.prefix | quote }}}
{{- if $redis.cluster }}
- {name: {{ .prefix }}_REDIS_CLUSTER, value: "true"}
{{- end }}
{{- with $redis.sentinelMaster }}
- {name: {{ $.prefix }}_REDIS_MASTER_NAME, value: {{ . | quote }}}
{{- end }}
{{- if $redis.tls.enabled }}
- {name: {{ .prefix }}_REDIS_TLS_ENABLE, value: "true"}
{{- if and $redis.tls.existingSecret $redis.tls.caKey }}
- {name: {{ .prefix }}_REDIS_TLS_CA, value: /etc/linkpulse/redis-tls/ca.crt}
{{- end }}
{{- if and $redis.tls.existingSecret $redis.tls.certKey }}
- {name: {{ .prefix }}_REDIS_TLS_CERT, value: /etc/linkpulse/redis-tls/tls.crt}
- {name: {{ .prefix }}_REDIS_TLS_KEY, value: /etc/linkpulse/redis-tls/tls.key}
{{- end }}
{{- end }}
{{- with $redis.auth }}
{{- if .existingSecret }}
{{- if .usernameKey }}
- name: {{ $.prefix }}_REDIS_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .usernameKey }}}}
{{- end }}
- {name: {{ $.prefix }}_REDIS_PASSWORD_FILE, value: /etc/linkpulse/redis-auth/password}
{{- end }}
{{- end }}
{{- end -}}

{{- define "linkpulse.redisMounts" -}}
{{- $redis := .Values.redis -}}
{{- if and $redis.tls.enabled $redis.tls.existingSecret }}
- {name: redis-tls, mountPath: /etc/linkpulse/redis-tls, readOnly: true}
{{- end }}
{{- if $redis.auth.existingSecret }}
- {name: redis-auth, mountPath: /etc/linkpulse/redis-auth, readOnly: true}
{{- end }}
{{- end -}}

{{- define "linkpulse.redisVolumes" -}}
{{- $redis := .Values.redis -}}
{{- if and $redis.tls.enabled $redis.tls.existingSecret }}
- name: redis-tls
  secret:
    secretName: {{ $redis.tls.existingSecret }}
    defaultMode: 0440
    items:
      {{- with $redis.tls.caKey }}
      - {key: {{ . }}, path: ca.crt}
      {{- end }}
      {{- with $redis.tls.certKey }}
      - {key: {{ . }}, path: tls.crt}
      - {key: {{ $redis.tls.keyKey }}, path: tls.key}
      {{- end }}
{{- end }}
{{- if $redis.auth.existingSecret }}
- name: redis-auth
  secret:
    secretName: {{ $redis.auth.existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ $redis.auth.passwordKey }}, path: password}
{{- end }}
{{- end -}}

{{/* Seconds between SIGTERM's eve and SIGKILL: the endpoint goes, the drain runs, and 10 s are left for what is late. */}}
{{- define "linkpulse.graceSeconds" -}}
{{- add .preStopSeconds .drainSeconds 10 -}}
{{- end -}}

{{/* What a schema cannot say, said before anything is applied. */}}
{{- define "linkpulse.check" -}}
{{- if not .Values.kafka.brokers -}}
{{- fail "kafka.brokers is empty: name at least one bootstrap server, e.g. --set kafka.brokers={kafka:9092}" -}}
{{- end -}}
{{- with .Values.kafka.sasl -}}
{{- if and (ne .mechanism "none") (not .existingSecret) -}}
{{- fail (printf "kafka.sasl.mechanism is %s: kafka.sasl.existingSecret must name the secret with the user and the password" .mechanism) -}}
{{- end -}}
{{- if and (eq .mechanism "plain") (not $.Values.kafka.tls.enabled) -}}
{{- fail "kafka.sasl.mechanism plain sends the password as it is: enable kafka.tls or use scram-sha-512" -}}
{{- end -}}
{{- end -}}
{{- range $name, $tls := dict "kafka" .Values.kafka.tls "redis" .Values.redis.tls -}}
{{- if and $tls.existingSecret (not $tls.enabled) -}}
{{- fail (printf "%s.tls.existingSecret is set but %s.tls.enabled is false: the connection would be in the clear" $name $name) -}}
{{- end -}}
{{- if and $tls.existingSecret (not $tls.caKey) (not $tls.certKey) -}}
{{- fail (printf "%s.tls.existingSecret is set but neither %s.tls.caKey nor %s.tls.certKey says what to take from it" $name $name $name) -}}
{{- end -}}
{{- if ne (empty $tls.certKey) (empty $tls.keyKey) -}}
{{- fail (printf "%s.tls.certKey and %s.tls.keyKey belong together: set both or neither" $name $name) -}}
{{- end -}}
{{- if and $tls.certKey (not $tls.existingSecret) -}}
{{- fail (printf "%s.tls.certKey is set: %s.tls.existingSecret must name the secret that holds it" $name $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.redis -}}
{{- if not .addrs -}}
{{- fail "redis.addrs is empty: name at least one host:port, e.g. --set redis.addrs={redis:6379}" -}}
{{- end -}}
{{- if and .cluster .sentinelMaster -}}
{{- fail "redis.cluster and redis.sentinelMaster contradict each other: the addresses are of one or of the other" -}}
{{- end -}}
{{- if and .auth.usernameKey (not .auth.existingSecret) -}}
{{- fail "redis.auth.usernameKey is set: redis.auth.existingSecret must name the secret that holds it" -}}
{{- end -}}
{{- end -}}
{{- with .Values.gateway.auth -}}
{{- $keys := or .jwksURL .keys.existingSecret .sharedSecret.existingSecret -}}
{{- if not .mode -}}
{{- fail "gateway.auth.mode is not set: jwt asks dashboards for tokens, and gateway.auth.jwksURL, keys or sharedSecret says which keys sign them; with disabled whoever can connect sees every link" -}}
{{- end -}}
{{- if and (eq .mode "jwt") (not $keys) -}}
{{- fail "gateway.auth.mode is jwt: gateway.auth.jwksURL, gateway.auth.keys.existingSecret or gateway.auth.sharedSecret.existingSecret must say which keys sign tokens" -}}
{{- end -}}
{{- if and (eq .mode "disabled") $keys -}}
{{- fail "gateway.auth.mode is disabled and there are keys: nobody would look at tokens" -}}
{{- end -}}
{{- if and .jwksURL (not .issuer) -}}
{{- fail "gateway.auth.jwksURL is set: gateway.auth.issuer must say whose tokens are meant" -}}
{{- end -}}
{{- end -}}
{{- with .Values.ingest.auth -}}
{{- if not .mode -}}
{{- fail "ingest.auth.mode is not set: keys takes clicks from whoever has an API key, and ingest.auth.existingSecret names the secret that holds them; with disabled everybody who can connect may send clicks" -}}
{{- end -}}
{{- if and (eq .mode "keys") (not .existingSecret) -}}
{{- fail "ingest.auth.mode is keys: ingest.auth.existingSecret must name the secret with the file of keys" -}}
{{- end -}}
{{- if and (eq .mode "disabled") .existingSecret -}}
{{- fail "ingest.auth.mode is disabled and there are keys: nobody would look at them" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.topic.create "job") (gt (int .Values.topic.minInsyncReplicas) (int .Values.topic.replicationFactor)) -}}
{{- fail "topic.minInsyncReplicas is above topic.replicationFactor: no click could ever be acknowledged" -}}
{{- end -}}
{{- end -}}
