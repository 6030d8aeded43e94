{{/* Labels of every object. Arguments: root, component. */}}
{{- define "mbcas.labels" -}}
{{ include "mbcas.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Labels that select pods: never changed by an upgrade. Arguments: root, component. */}}
{{- define "mbcas.selectorLabels" -}}
app.kubernetes.io/name: mbcas
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: mbcas
{{- end }}

{{/* A full image reference; a digest wins over a tag. Arguments: root, image. */}}
{{- define "mbcas.image" -}}
{{- $name := printf "%s/%s" .image.registry .image.repository -}}
{{- if .image.digest -}}
{{ printf "%s@%s" $name .image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* The security context of our own containers: passes Pod Security restricted. */}}
{{- define "mbcas.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
