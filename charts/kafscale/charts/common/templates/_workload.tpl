{{/* The objects around a service: each takes root and component, and makes NAME-component. */}}

{{- define "kafscale.objectName" -}}
{{- printf "%s-%s" (include "kafscale.name" .root) .component -}}
{{- end -}}

{{- define "kafscale.metadata" -}}
name: {{ include "kafscale.objectName" . }}
labels:
  {{- include "kafscale.labels" . | nindent 2 }}
{{- end -}}

{{/* Pods with stable names. Replicas are left to the HPA where there is one. */}}
{{- define "kafscale.statefulSet" -}}
{{- $pod := merge (dict "serviceAccount" (include "kafscale.objectName" .)) . -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "kafscale.metadata" . | nindent 2 }}
spec:
  {{- if not .root.Values.autoscaling.enabled }}
  replicas: {{ .root.Values.replicas }}
  {{- end }}
  serviceName: {{ include "kafscale.objectName" . }}
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  selector:
    matchLabels:
      {{- include "kafscale.selectorLabels" . | nindent 6 }}
  template:
    {{- include "kafscale.podTemplate" $pod | nindent 4 }}
{{- end -}}

{{/* Names for single pods. Takes ports as well. */}}
{{- define "kafscale.headlessService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "kafscale.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "kafscale.selectorLabels" . | nindent 4 }}
  ports:
    {{- range .ports }}
    - name: {{ .name }}
      port: {{ .port }}
      targetPort: {{ .name }}
      protocol: TCP
    {{- end }}
{{- end -}}

{{- define "kafscale.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "kafscale.metadata" . | nindent 2 }}
  {{- with .root.Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* One pod at a time may be taken from a node that is drained, also where there is only one. */}}
{{- define "kafscale.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "kafscale.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "kafscale.selectorLabels" . | nindent 6 }}
{{- end -}}

{{/* By CPU and memory, and by our own metrics where values ask for it. Takes metrics: by value's key, the metric's
name as a metrics adapter has it. A pod that goes gives up what it has, so they go one by one and late. */}}
{{- define "kafscale.horizontalPodAutoscaler" -}}
{{- $scaling := .root.Values.autoscaling -}}
{{- if lt (int $scaling.maxReplicas) (int $scaling.minReplicas) -}}
{{- fail (printf "%s.autoscaling: maxReplicas is %d, below minReplicas, which is %d" .root.Chart.Name (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- end -}}
{{- if not (or $scaling.targetCPUUtilizationPercentage $scaling.targetMemoryUtilizationPercentage (values ($scaling.customMetrics | default dict) | compact)) -}}
{{- fail (printf "%s.autoscaling has no target: say one for CPU, memory or customMetrics" .root.Chart.Name) -}}
{{- end -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "kafscale.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: StatefulSet
    name: {{ include "kafscale.objectName" . }}
  minReplicas: {{ $scaling.minReplicas }}
  maxReplicas: {{ $scaling.maxReplicas }}
  metrics:
    {{- range $resource, $target := dict "cpu" $scaling.targetCPUUtilizationPercentage "memory" $scaling.targetMemoryUtilizationPercentage }}
    {{- with $target }}
    - type: Resource
      resource:
        name: {{ $resource }}
        target:
          type: Utilization
          averageUtilization: {{ . }}
    {{- end }}
    {{- end }}
    {{- range $key, $name := .metrics }}
    {{- with get ($scaling.customMetrics | default dict) $key }}
    - type: Pods
      pods:
        metric:
          name: {{ $name }}
        target:
          type: AverageValue
          averageValue: {{ include "kafscale.plain" . | quote }}
    {{- end }}
    {{- end }}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 60
      policies:
        - type: Pods
          value: 2
          periodSeconds: 60
    scaleDown:
      stabilizationWindowSeconds: {{ $scaling.scaleDownStabilizationSeconds }}
      policies:
        - type: Pods
          value: 1
          periodSeconds: 60
{{- end -}}

{{/* Who may connect. Takes open (ports for everybody) and internal (ports for this cluster's own pods, the
operator's, and networkPolicy.peers). The admin port is open to networkPolicy.metricsFrom, else to all; nodes'
probes always pass. What goes out is not restricted: where S3 and etcd are is not known here. */}}
{{- define "kafscale.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $own := list
  (dict "podSelector" (dict "matchLabels" (dict "app.kubernetes.io/name" "kafscale" "app.kubernetes.io/instance" (include "kafscale.name" .root))))
  (dict "namespaceSelector" (dict) "podSelector" (dict "matchLabels" (dict "app.kubernetes.io/part-of" "kafscale" "app.kubernetes.io/component" "operator")))
-}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "kafscale.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "kafscale.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    {{- range .open }}
    - ports:
        - port: {{ . }}
          protocol: TCP
    {{- end }}
    {{- with .internal }}
    - ports:
        {{- range . }}
        - port: {{ . }}
          protocol: TCP
        {{- end }}
      from:
        {{- concat $own ($policy.peers | default list) | toYaml | nindent 8 }}
    {{- end }}
    - ports:
        - port: admin
          protocol: TCP
      {{- with $policy.metricsFrom }}
      from:
        {{- concat $own . | toYaml | nindent 8 }}
      {{- end }}
{{- end -}}
