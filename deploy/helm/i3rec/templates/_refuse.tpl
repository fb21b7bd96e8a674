{{- /* What no schema can refuse, because it takes two values to see it. */}}
{{- define "i3rec.refuse" -}}
{{- $settings := .Values.settings | default dict }}
{{- if and (not .Values.secretName) (not .Values.allowWithoutKeys) }}
{{- fail "expected secretName, a Secret with the keys of callers, or allowWithoutKeys=true; found neither" }}
{{- end }}
{{- if and (eq .Values.journal.kind "postgresql") (not .Values.secretName) }}
{{- fail "expected secretName, a Secret with i3rec_journal_url, because journal.kind is postgresql; found none" }}
{{- end }}
{{- if and .Values.redis.enabled (hasKey $settings "redis_url") }}
{{- fail "expected redis.enabled=false beside settings.redis_url, the address of a cache of yours; found true" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail (printf "expected autoscaling.minReplicas of at most maxReplicas, %d; found %d" (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) }}
{{- end }}
{{- $shutdown := 10 }}
{{- if hasKey $settings "shutdown_timeout_s" }}
{{- $shutdown = int $settings.shutdown_timeout_s }}
{{- end }}
{{- if le (int .Values.terminationGracePeriodSeconds) (add $shutdown 5 | int) }}
{{- fail (printf "expected terminationGracePeriodSeconds above %d: 5 of the pause before the end, and shutdown_timeout_s; found %d" (add $shutdown 5 | int) (int .Values.terminationGracePeriodSeconds)) }}
{{- end }}
{{- end }}
