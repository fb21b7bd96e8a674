{{- /* What is longest, NAME-trainer, may have 52 characters: a CronJob adds eleven for its jobs. */}}
{{- define "i3rec.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 44 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 44 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "i3rec.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "i3rec.labels" -}}
{{ include "i3rec.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "i3rec.storeClaim" -}}
{{ .Values.store.existingClaim | default (printf "%s-store" (include "i3rec.name" .)) }}
{{- end }}

{{- /* "" is the cluster's default class, "-" none at all, as in other charts. */}}
{{- define "i3rec.storageClass" -}}
{{- if eq (default "" .) "-" }}
storageClassName: ""
{{- else if . }}
storageClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* Numbers of a values file are floats here, and a million of them would be 1e+06, which is no integer to the service. */}}
{{- define "i3rec.setting" -}}
{{- if kindIs "float64" . }}{{ if eq . (floor .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /* As in compose: no way to gain anything, and a root file system that cannot be written. */}}
{{- define "i3rec.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "i3rec.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}
