{{/* The name of everything: the release's, or with the chart's. */}}
{{- define "mainstay.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mainstay.selector" -}}
app.kubernetes.io/name: mainstay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mainstay.labels" -}}
{{ include "mainstay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "mainstay.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "mainstay.address" -}}
{{- if eq .Values.mode "sidecar" }}127.0.0.1{{ else }}{{ .Values.listenAddress }}{{ end }}
{{- end }}

{{/* A sidecar shows its admin endpoint to the pod only, unless it is to be scraped. */}}
{{- define "mainstay.adminAddress" -}}
{{- if and (eq .Values.mode "sidecar") (not .Values.monitoring.enabled) }}127.0.0.1{{ else }}{{ .Values.listenAddress }}{{ end }}
{{- end }}

{{/* Where clients connect, as JSON: {"ports": [{"name": …, "port": …}]}. Names of ports have at most 15 characters: they are numbers. */}}
{{- define "mainstay.ports" -}}
{{- $ports := list }}
{{- range .Values.pools }}
{{- if .port }}{{ $ports = append $ports (dict "name" (printf "tcp-%v" (int .port)) "port" (int .port)) }}{{ end }}
{{- range .listeners }}{{ $ports = append $ports (dict "name" (printf "tcp-%v" (int .port)) "port" (int .port)) }}{{ end }}
{{- end }}
{{- dict "ports" $ports | toJson }}
{{- end }}

{{/* The ports of the backends, as JSON: {"ports": [5432]}. */}}
{{- define "mainstay.backendPorts" -}}
{{- $ports := list }}
{{- range .Values.pools }}{{ range .backends }}
{{- $address := . }}{{ if kindIs "map" . }}{{ $address = .address }}{{ end }}
{{- $port := regexFind "[0-9]+$" $address }}
{{- if $port }}{{ $ports = append $ports (int $port) }}{{ end }}
{{- end }}{{ end }}
{{- dict "ports" ($ports | uniq | sortAlpha) | toJson }}
{{- end }}

{{/* mainstay.yaml */}}
{{- define "mainstay.config" -}}
{{- $address := include "mainstay.address" . }}
{{- $admin := list "unix:/run/mainstay/admin.sock" (printf "%s:8432" (include "mainstay.adminAddress" .)) }}
{{- $pools := list }}
{{- range .Values.pools }}
{{- $pool := omit . "port" "listeners" }}
{{- if .port }}{{ $_ := set $pool "listen" (printf "%s:%v" $address (int .port)) }}{{ end }}
{{- if .listeners }}
{{- $listeners := list }}
{{- range .listeners }}{{ $listeners = append $listeners (merge (dict "listen" (printf "%s:%v" $address (int .port))) (omit . "port")) }}{{ end }}
{{- $_ := set $pool "listeners" $listeners }}
{{- end }}
{{- $pools = append $pools $pool }}
{{- end }}
{{- $config := dict "admin" (dict "listen" $admin) "log" (dict "format" "json" "level" .Values.logLevel) }}
{{- $_ := set $config "reload" (dict "watch" .Values.reloadWatch) }}
{{- $_ := set $config "shutdown" (dict "delay" (printf "%vs" (int .Values.shutdown.delaySeconds)) "timeout" (printf "%vs" (int .Values.shutdown.timeoutSeconds))) }}
{{- if eq .Values.mode "sidecar" }}{{ $_ := set $config.shutdown "delay" "0s" }}{{ end }}
{{- $_ := set $config "state_dir" "/var/lib/mainstay" }}
{{- $_ := set $config "workers" (int .Values.workers) }}
{{- $_ := set $config "pools" $pools }}
{{- toYaml (merge $config .Values.config) }}
{{- end }}

{{/* What both shapes mount. */}}
{{- define "mainstay.mounts" -}}
# A whole directory: a file of its own (subPath) would never change.
- {name: mainstay-config, mountPath: /etc/mainstay, readOnly: true}
{{- range .Values.secrets }}
- {name: {{ printf "secret-%s" . }}, mountPath: {{ printf "/run/secrets/%s" . }}, readOnly: true}
{{- end }}
- {name: mainstay-run, mountPath: /run/mainstay}
- {name: mainstay-state, mountPath: /var/lib/mainstay}
{{- end }}

{{/* The volumes of a pod with a sidecar: a list. */}}
{{- define "mainstay.sidecar.volumes" -}}
- name: mainstay-config
  configMap: {name: {{ include "mainstay.name" . }}}
{{- range .Values.secrets }}
- name: {{ printf "secret-%s" . }}
  secret: {secretName: {{ . }}{{ if eq $.Values.mode "deployment" }}, defaultMode: 0440{{ end }}}
{{- end }}
- name: mainstay-run
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: mainstay-state
  emptyDir: {sizeLimit: 64Mi}
{{- end }}

{{/* The native sidecar: an entry for `initContainers`, best the first one. */}}
{{- define "mainstay.sidecar.container" -}}
- name: mainstay
  image: {{ include "mainstay.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  # This makes an init container a sidecar: it goes on beside the application, and ends after it.
  restartPolicy: Always
  command: [/mainstay, run, --config, /etc/mainstay/mainstay.yaml]
  ports:
    - {name: mainstay-admin, containerPort: 8432}
  # Commands, since an HTTP probe of the kubelet comes to the address of the pod, where the endpoint does not listen by itself.
  # There is no readiness probe: a database's trouble must not take the application out of its Service.
  startupProbe:
    exec:
      command: [/mainstay, wait, --for, startup, --max, 4s, --admin, "unix:/run/mainstay/admin.sock"]
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 12
  livenessProbe:
    exec:
      command: [/mainstay, wait, --for, live, --max, 4s, --admin, "unix:/run/mainstay/admin.sock"]
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  resources:
    {{- toYaml (.Values.resources | default (dict "requests" (dict "cpu" "20m" "memory" "32Mi") "limits" (dict "memory" "128Mi"))) | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
    {{- include "mainstay.mounts" . | nindent 4 }}
{{- end }}

{{/* The label by which the PodMonitor finds the pod. */}}
{{- define "mainstay.sidecar.labels" -}}
mainstay: {{ .Release.Name }}
{{- end }}
