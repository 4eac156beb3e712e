{{/*
The pod template of a service. Both services have the same shape; what differs is passed in:
(dict "root" $ "component" "gateway" "prefix" "GATEWAY" "values" .Values.gateway "env" (list of further variables)), and
with "mounts" and "volumes" lists of those.
*/}}
{{- define "linkpulse.podTemplate" -}}
{{- $values := .values -}}
metadata:
  # Only labels that do not change with the chart: a pod that has nothing new to run must not be replaced, because that
  # cuts every socket on it.
  labels:
    {{- include "linkpulse.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/part-of: linkpulse
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "linkpulse.fullname" .root }}
  {{- include "linkpulse.podSecurity" . | nindent 2 }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - {name: {{ . }}}
    {{- end }}
  {{- end }}
  # preStop {{ $values.preStopSeconds }} s + drain {{ $values.drainSeconds }} s + 10 s for what is late.
  terminationGracePeriodSeconds: {{ include "linkpulse.graceSeconds" $values }}
  # Replicas on different machines where that is possible.
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels: {{- include "linkpulse.selectorLabels" . | nindent 10 }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "linkpulse.image" (dict "root" .root "image" $values.image) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      env:
        - {name: {{ .prefix }}_ADDR, value: ":8080"}
        - {name: {{ .prefix }}_ADMIN_ADDR, value: ":{{ $values.adminPort }}"}
        - {name: {{ .prefix }}_LOG_LEVEL, value: {{ $values.logLevel }}}
        - {name: {{ .prefix }}_DRAIN, value: {{ $values.drainSeconds }}s}
        {{- include "linkpulse.kafkaEnv" . | nindent 8 }}
        {{- include "linkpulse.redisEnv" . | nindent 8 }}
        {{- range .env }}
        - {{ toYaml . | nindent 10 | trim }}
        {{- end }}
        {{- range $values.extraEnv }}
        - {{ toYaml . | nindent 10 | trim }}
        {{- end }}
      ports:
        - {name: http, containerPort: 8080}
        - {name: admin, containerPort: {{ $values.adminPort }}}
      # The listener opens at once; becoming ready may take as long as reading the topic's window takes.
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      {{- if gt (int $values.preStopSeconds) 0 }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ $values.preStopSeconds }}}
      {{- end }}
      {{- include "linkpulse.containerSecurity" . | nindent 6 }}
      resources: {{- toYaml $values.resources | nindent 8 }}
      {{- $mounts := "" -}}
      {{- with .mounts }}{{ $mounts = toYaml . }}{{ end -}}
      {{- with printf "%s\n%s\n%s" (include "linkpulse.kafkaMounts" .root | trim) (include "linkpulse.redisMounts" .root | trim) $mounts | trim }}
      volumeMounts: {{- . | nindent 8 }}
      {{- end }}
  {{- $volumes := "" -}}
  {{- with .volumes }}{{ $volumes = toYaml . }}{{ end -}}
  {{- with printf "%s\n%s\n%s" (include "linkpulse.kafkaVolumes" .root | trim) (include "linkpulse.redisVolumes" .root | trim) $volumes | trim }}
  volumes: {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* A rollout stops and starts every replica in turn at worst, and is not stuck before that. */}}
{{- define "linkpulse.progressDeadline" -}}
{{- max 600 (mul .replicas (add (include "linkpulse.graceSeconds" .) 60)) -}}
{{- end -}}
