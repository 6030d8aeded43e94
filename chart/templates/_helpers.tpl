{{/* Labels that select pods: never changed by an upgrade. Arguments: root, component. */}}
{{- define "mbcas.selectorLabels" -}}
app.kubernetes.io/name: mbcas
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: mbcas
{{- end }}

{{/* Labels of every object. Arguments: root, component, labels (its own; may be left out). */}}
{{- define "mbcas.labels" -}}
{{- $chart := printf "%s-%s" .root.Chart.Name (replace "+" "_" .root.Chart.Version) -}}
{{- $all := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" $chart -}}
{{- toYaml (merge $all (include "mbcas.selectorLabels" . | fromYaml) (.labels | default dict) .root.Values.commonLabels) }}
{{- end }}

{{/* Labels and annotations of every object's metadata. Arguments: as mbcas.labels, and annotations (its own). */}}
{{- define "mbcas.metadata" -}}
labels: {{- include "mbcas.labels" . | nindent 2 }}
{{- with merge dict (.annotations | default dict) .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of a pod of ours. It stays out of every mesh: the API server must
reach the webhook without one, and a Job with a proxy would not end.
Arguments: root, component, labels and annotations (the user's). */}}
{{- define "mbcas.podMetadata" -}}
{{- $labels := merge (dict "sidecar.istio.io/inject" "false") (.labels | default dict) -}}
{{- $annotations := merge (dict "linkerd.io/inject" "disabled") (.annotations | default dict) -}}
{{- include "mbcas.metadata" (dict "root" .root "component" .component "labels" $labels "annotations" $annotations) }}
{{- end }}

{{/* A full image reference; a digest wins over a tag. Arguments: root, image. */}}
{{- define "mbcas.image" -}}
{{- $name := printf "%s/%s" (.root.Values.global.imageRegistry | default .image.registry) .image.repository -}}
{{- if .image.digest -}}
{{ printf "%s@%s" $name .image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* What every pod of ours needs before its containers. Argument: root. */}}
{{- define "mbcas.podSpec" -}}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets | uniq }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a Deployment's pods may run, and before whom. Arguments: root, component. */}}
{{- define "mbcas.placement" -}}
{{- $values := index .root.Values .component -}}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
# On different nodes and in different zones where there are several; on one node all the same.
topologySpreadConstraints:
{{- $selector := dict "matchLabels" (include "mbcas.selectorLabels" . | fromYaml) }}
{{- range $values.topologySpreadConstraints | default (include "mbcas.spread" . | fromYamlArray) }}
  - {{- toYaml (merge (dict "labelSelector" $selector) .) | nindent 4 }}
{{- end }}
{{- end }}

{{- define "mbcas.spread" -}}
- {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [pod-template-hash]}
- {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [pod-template-hash]}
{{- end }}

{{/* The security context of our own containers: passes Pod Security restricted. Argument: root. */}}
{{- define "mbcas.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- if not .Values.openshift }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Annotations by which Prometheus finds a pod of ours without its operator. Argument: root. */}}
{{- define "mbcas.scrape" -}}
{{- if not .Values.monitoring.serviceMonitor.enabled -}}
prometheus.io/scrape: "true"
prometheus.io/port: "9464"
{{- end }}
{{- end }}

{{/* Whether anybody may read the metrics of our pods: "true" unless a NetworkPolicy of ours names nobody. Argument: root. */}}
{{- define "mbcas.metricsAreRead" -}}
{{- or (not .Values.networkPolicy.enabled) (not (empty .Values.networkPolicy.metricsFrom)) -}}
{{- end }}

{{/* A PodDisruptionBudget, where there is more than one replica to keep. Arguments: root, component. */}}
{{- define "mbcas.podDisruptionBudget" -}}
{{- $values := index .root.Values .component -}}
{{- if and $values.podDisruptionBudget.enabled (gt (int $values.replicas) 1) }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: mbcas-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  {{- include "mbcas.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ $values.podDisruptionBudget.maxUnavailable }}
  # A replica that is not ready protects nobody: it must not stop a drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "mbcas.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}
