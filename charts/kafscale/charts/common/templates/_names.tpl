{{/* The names of docs/plan-kubernetes.md: a release and a KafscaleCluster called NAME make the same objects. */}}

{{/* NAME. A StatefulSet's revision label (63 characters at most) has room for this long a name. */}}
{{- define "kafscale.name" -}}
{{- $name := dig "name" "" (.Values.global | default dict) | default .Release.Name -}}
{{- if gt (len $name) 36 -}}
{{- fail (printf "the name %q has %d characters, 36 are the most: set global.name, or choose a shorter release name" $name (len $name)) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) -}}
{{- fail (printf "the name %q can't be that of a Service: it begins with a letter and has letters, digits and dashes; set global.name" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The labels that select a component's pods; they never change. Takes (dict "root" . "component" "gateway"). */}}
{{- define "kafscale.selectorLabels" -}}
app.kubernetes.io/name: kafscale
app.kubernetes.io/instance: {{ include "kafscale.name" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* All labels of a component's objects. Takes the same; without a component, for what belongs to all. */}}
{{- define "kafscale.labels" -}}
app.kubernetes.io/name: kafscale
app.kubernetes.io/instance: {{ include "kafscale.name" .root }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/part-of: kafscale
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with include "kafscale.version" .root }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
helm.sh/chart: {{ printf "kafscale-%s" .root.Chart.Version }}
{{- end -}}

{{/* The tag as a label's value: what a label can't hold is left out. */}}
{{- define "kafscale.version" -}}
{{- $image := dig "image" (dict) (.Values.global | default dict) -}}
{{- $image.tag | default .Chart.AppVersion | trunc 63 | trimSuffix "-" | trimSuffix "." -}}
{{- end -}}

{{- define "kafscale.image" -}}
{{- $image := dig "image" (dict) (.Values.global | default dict) -}}
{{- $repository := $image.repository | default "kafscale" -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Of this service's own pods: where its `image` says nothing, that of all. A digest is of one repository only. */}}
{{- define "kafscale.ownImage" -}}
{{- $own := .Values.image | default dict -}}
{{- $all := dig "image" (dict) (.Values.global | default dict) -}}
{{- $repository := $own.repository | default $all.repository | default "kafscale" -}}
{{- if $own.digest -}}
{{- printf "%s@%s" $repository $own.digest -}}
{{- else if or $own.repository $own.tag -}}
{{- printf "%s:%s" $repository ($own.tag | default $all.tag | default .Chart.AppVersion) -}}
{{- else -}}
{{- include "kafscale.image" . -}}
{{- end -}}
{{- end -}}

{{/* A value as an environment variable holds it: YAML's large numbers come as floats, 5.36870912e+08 is no setting. */}}
{{- define "kafscale.plain" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}
