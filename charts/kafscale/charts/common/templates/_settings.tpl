{{/* Where settings come from: NAME-config, NAME-credentials or the Secrets that were named, and a service's own config.

A process refuses a KAFSCALE_* that it does not know, so a pod takes the keys that its service reads, one by one,
and not the whole ConfigMap.
*/}}

{{/* Every shared setting that is no secret: the data of NAME-config, as YAML. */}}
{{- define "kafscale.sharedSettings" -}}
{{- $global := .Values.global | default dict -}}
{{- $s3 := $global.s3 | default dict -}}
{{- $etcd := $global.etcd | default dict -}}
{{- $name := include "kafscale.name" . -}}
{{- $data := dict
  "KAFSCALE_CLUSTER" ($global.cluster | default $name)
  "KAFSCALE_DRAIN_SECONDS" (include "kafscale.drainSeconds" .)
  "KAFSCALE_METADATA_ADDRESSES" ($global.metadataAddresses | default (list (printf "%s-metadata:9094" $name)) | join ",")
  "KAFSCALE_S3_BUCKET" ($s3.bucket | default "")
  "KAFSCALE_S3_READ_BUCKET" ($s3.readBucket | default "")
  "KAFSCALE_S3_REGION" ($s3.region | default "")
  "KAFSCALE_S3_ENDPOINT" ($s3.endpoint | default "")
  "KAFSCALE_S3_NAMESPACE" ($s3.prefix | default "")
  "KAFSCALE_S3_KMS_KEY" ($s3.kmsKey | default "")
  "KAFSCALE_ETCD_ENDPOINTS" ($etcd.endpoints | default list | join ",")
-}}
{{- if $etcd.tlsSecret -}}
{{- $_ := set $data "KAFSCALE_ETCD_CA_FILE" "/etc/kafscale/etcd-tls/ca.crt" -}}
{{- if $etcd.clientCertificate -}}
{{- $_ := set $data "KAFSCALE_ETCD_CERT_FILE" "/etc/kafscale/etcd-tls/tls.crt" -}}
{{- $_ := set $data "KAFSCALE_ETCD_KEY_FILE" "/etc/kafscale/etcd-tls/tls.key" -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := $global.config | default dict -}}
{{- $_ := set $data $key (include "kafscale.plain" $value) -}}
{{- end -}}
{{- range $key := keys $data | sortAlpha -}}
{{- with get $data $key }}
{{ $key }}: {{ . | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kafscale.drainSeconds" -}}
{{- include "kafscale.plain" (dig "config" "KAFSCALE_DRAIN_SECONDS" 45 (.Values.global | default dict)) -}}
{{- end -}}

{{/* Longer than the drain: SIGTERM drains, and what is left after it is killed. A service's own config wins. */}}
{{- define "kafscale.terminationGracePeriodSeconds" -}}
{{- $own := get (.Values.config | default dict) "KAFSCALE_DRAIN_SECONDS" -}}
{{- $drain := $own | default (include "kafscale.drainSeconds" .) -}}
{{- add 15 (ceil (float64 $drain) | int) -}}
{{- end -}}

{{/* NAME-config and, where keys are given as values, NAME-credentials: once for a release, by its root chart. */}}
{{- define "kafscale.settings" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "kafscale.name" . }}-config
  labels:
    {{- include "kafscale.labels" (dict "root" .) | nindent 4 }}
data:
  {{- include "kafscale.sharedSettings" . | nindent 2 }}
{{- with include "kafscale.credentials" . }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ include "kafscale.name" $ }}-credentials
  labels:
    {{- include "kafscale.labels" (dict "root" $) | nindent 4 }}
type: Opaque
stringData:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kafscale.credentials" -}}
{{- $global := .Values.global | default dict -}}
{{- $s3 := $global.s3 | default dict -}}
{{- $etcd := $global.etcd | default dict -}}
{{- $data := dict -}}
{{- if and $s3.accessKey (not $s3.credentialsSecret) -}}
{{- $_ := set $data "KAFSCALE_S3_ACCESS_KEY" $s3.accessKey -}}
{{- $_ := set $data "KAFSCALE_S3_SECRET_KEY" $s3.secretKey -}}
{{- end -}}
{{- if and $etcd.username (not $etcd.credentialsSecret) -}}
{{- $_ := set $data "KAFSCALE_ETCD_USERNAME" $etcd.username -}}
{{- $_ := set $data "KAFSCALE_ETCD_PASSWORD" $etcd.password -}}
{{- end -}}
{{- range $key := keys $data | sortAlpha }}
{{ $key }}: {{ get $data $key | quote }}
{{- end -}}
{{- end -}}

{{/* A pod's variables. Takes root, and "reads": the shared settings that this service knows. */}}
{{- define "kafscale.env" -}}
{{- $root := .root -}}
{{- $own := $root.Values.config | default dict -}}
{{- $shared := include "kafscale.sharedSettings" $root | fromYaml -}}
- name: KAFSCALE_INSTANCE
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: KAFSCALE_BIND_HOST
  value: "0.0.0.0"
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- if not (hasKey $own "KAFSCALE_ZONE") }}
# Kubernetes copies a node's zone to its pods (1.35); where it does not, this is empty: no zone.
- name: KAFSCALE_ZONE
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['topology.kubernetes.io/zone']
{{- end }}
{{- range $key := .reads | sortAlpha }}
{{- if and (hasKey $shared $key) (not (hasKey $own $key)) }}
- name: {{ $key }}
  valueFrom:
    configMapKeyRef:
      name: {{ include "kafscale.name" $root }}-config
      key: {{ $key }}
{{- end }}
{{- end }}
{{- range $key := keys $own | sortAlpha }}
- name: {{ $key }}
  value: {{ include "kafscale.plain" (get $own $key) | quote }}
{{- end }}
{{- end -}}

{{/* Variables that come from a Secret. Takes root, the Secret that was named (or none), the keys. */}}
{{- define "kafscale.secretEnv" -}}
{{- $secret := .secret | default (printf "%s-credentials" (include "kafscale.name" .root)) -}}
{{- range .keys }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ . }}
{{- end }}
{{- end -}}
