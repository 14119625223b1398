{{/* What every pod of Kafscale has: no root, nothing to write to but /tmp, no privileges, probes on the admin port. */}}

{{- define "kafscale.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "kafscale.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* A slow start (a store that is away) is given five minutes; after it only a process that hangs is restarted. */}}
{{- define "kafscale.probes" -}}
startupProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* A container. Takes root, component, module, ports (list of name and port), env (YAML), leaveSeconds: how long it
goes on accepting after it is told to stop, until proxies and load balancers have heard that it leaves. */}}
{{- define "kafscale.container" -}}
- name: {{ .component }}
  image: {{ include "kafscale.ownImage" .root }}
  imagePullPolicy: {{ dig "image" "pullPolicy" "IfNotPresent" (.root.Values.global | default dict) }}
  command: ["python", "-m", {{ .module | quote }}]
  env:
    {{- .env | nindent 4 }}
  ports:
    {{- range .ports }}
    - name: {{ .name }}
      containerPort: {{ .port }}
      protocol: TCP
    {{- end }}
  {{- include "kafscale.probes" . | nindent 2 }}
  {{- with .leaveSeconds }}
  lifecycle:
    preStop:
      exec:
        command: [sleep, {{ . | quote }}]
  {{- end }}
  resources:
    {{- toYaml .root.Values.resources | nindent 4 }}
  securityContext:
    {{- include "kafscale.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    {{- with .mounts }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A pod template. Takes what a container takes, and mounts and volumes (YAML), serviceAccount, token. */}}
{{- define "kafscale.podTemplate" -}}
metadata:
  # Without a version: a new chart alone restarts no pod.
  labels:
    {{- include "kafscale.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/part-of: kafscale
    app.kubernetes.io/managed-by: {{ .root.Release.Service }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A changed setting rolls the pods, which read it at their start only.
    checksum/config: {{ printf "%s%s" (include "kafscale.sharedSettings" .root) (include "kafscale.credentials" .root) | sha256sum }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ .serviceAccount }}
  automountServiceAccountToken: {{ .token | default false }}
  # Else Kubernetes tells each pod KAFSCALE_..._SERVICE_HOST of every Service.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "kafscale.terminationGracePeriodSeconds" .root }}
  securityContext:
    {{- include "kafscale.podSecurityContext" . | nindent 4 }}
  {{- with dig "image" "pullSecrets" (list) (.root.Values.global | default dict) }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- $selector := include "kafscale.selectorLabels" . }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- $selector | nindent 10 }}
    {{- end }}
  containers:
    {{- include "kafscale.container" . | nindent 4 }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- with .volumes }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
