{{- /* The pod of the service, the same for one replica on SQLite and for many on PostgreSQL. */}}
{{- define "i3rec.pod" -}}
{{- $settings := .Values.settings | default dict }}
metadata:
  labels:
    {{- include "i3rec.labels" . | nindent 4 }}
    app.kubernetes.io/component: api
  {{- with .Values.podAnnotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false # a Service named i3rec would set I3REC_PORT
  securityContext: {{ include "i3rec.podSecurity" . | nindent 4 }}
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: api
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      securityContext: {{ include "i3rec.containerSecurity" . | nindent 8 }}
      ports:
        - { name: http, containerPort: 8000 }
      env:
        - { name: I3REC_MODEL_STORE, value: /data/store }
        - { name: I3REC_HOST, value: "0.0.0.0" }
        - { name: I3REC_PORT, value: "8000" }
        {{- if eq .Values.journal.kind "sqlite" }}
        - { name: I3REC_JOURNAL_URL, value: "sqlite:////data/journal/journal.db" }
        {{- else if not (hasKey $settings "checkpoints") }}
        # Beside a journal on a server there is no place for them; a model store minds only what is its own.
        - { name: I3REC_CHECKPOINTS, value: /data/store/checkpoints }
        {{- end }}
        {{- if .Values.redis.enabled }}
        - { name: I3REC_REDIS_URL, value: "redis://{{ include "i3rec.name" . }}-redis:6379/0" }
        {{- end }}
        {{- if .Values.allowWithoutKeys }}
        - { name: I3REC_ALLOW_PUBLIC, value: "true" }
        {{- end }}
        {{- range $name, $value := $settings }}
        - { name: I3REC_{{ $name | upper }}, value: {{ include "i3rec.setting" $value | quote }} }
        {{- end }}
      volumeMounts:
        - { name: store, mountPath: /data/store }
        - { name: scratch, mountPath: /tmp }
        {{- if eq .Values.journal.kind "sqlite" }}
        - { name: journal, mountPath: /data/journal }
        {{- end }}
        {{- if .Values.secretName }}
        - { name: secrets, mountPath: /run/secrets, readOnly: true }
        {{- end }}
      # A start reads the journal; ten minutes are for large ones.
      startupProbe:
        httpGet: { path: /livez, port: http }
        periodSeconds: 5
        failureThreshold: 120
      # /livez, not /readyz: no restart helps a service that waits for its first model.
      livenessProbe:
        httpGet: { path: /livez, port: http }
        periodSeconds: 10
        timeoutSeconds: 3
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 5
        timeoutSeconds: 3
      # Nobody new is sent here by the time SIGTERM comes; what is open is then answered.
      lifecycle:
        preStop:
          exec: { command: [python, -c, "import time; time.sleep(5)"] }
      resources: {{ toYaml .Values.resources | nindent 8 }}
  volumes:
    - name: store
      persistentVolumeClaim: { claimName: {{ include "i3rec.storeClaim" . | quote }} }
    - name: scratch
      emptyDir: { sizeLimit: 256Mi }
    {{- if .Values.secretName }}
    - name: secrets
      secret:
        secretName: {{ .Values.secretName | quote }}
        defaultMode: 0440
        {{- if eq .Values.journal.kind "sqlite" }}
        # A file counts before a variable: i3rec_journal_url, which `make secrets` makes too, would lead to PostgreSQL.
        optional: true # not all of them are needed
        items:
          {{- range list "read_keys" "write_keys" "admin_keys" "redis_url" "trace_endpoint" }}
          - { key: i3rec_{{ . }}, path: i3rec_{{ . }} }
          {{- end }}
        {{- end }}
    {{- end }}
{{- end }}
