{{/* Names, labels, and what several templates need to know. */}}

{{- define "resizer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "resizer.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "resizer.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "resizer.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
The name of what does not lie in the release's own namespace: cluster-scoped objects, and roles elsewhere. Releases of one
name in several namespaces share none of these, nor do others: no namespace has a dot in it. A namespace that is that name
itself adds nothing.
*/}}
{{- define "resizer.clusterName" -}}
{{- $name := include "resizer.fullname" . -}}
{{- eq .Release.Namespace $name | ternary $name (printf "%s.%s" $name .Release.Namespace) -}}
{{- end -}}

{{- define "resizer.selector" -}}
app.kubernetes.io/name: {{ include "resizer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "resizer.labels" -}}
{{ include "resizer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: resizer
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "resizer.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "resizer.fullname" .) -}}
{{- end -}}

{{- define "resizer.nodeServiceAccount" -}}
{{- .Values.nodeAgent.serviceAccount.name | default (printf "%s-node" (include "resizer.fullname" .)) -}}
{{- end -}}

{{- define "resizer.image" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository is empty, and no image is published: build and push one (docs/install.md), then add --set image.repository=registry.your.org/resizer" -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/*
The Deployments as a JSON list: one for each namespace in which leases lie, in the order of the drivers. The first is
named like the release, so that a driver added at the end renames nothing.
*/}}
{{- define "resizer.groups" -}}
{{- $_ := include "resizer.image" . -}}
{{- if not .Values.drivers -}}
{{- fail "drivers is empty: name at least one CSI driver, by `container` or by `hostPath`; values.yaml of the chart shows both" -}}
{{- end -}}
{{- $groups := list -}}
{{- $names := list -}}
{{- range $driver := .Values.drivers -}}
{{- if eq (hasKey $driver "container") (hasKey $driver "hostPath") -}}
{{- fail (printf "drivers: %q must have either container (it runs in our pod) or hostPath (its socket is in a folder of the node)" $driver.name) -}}
{{- end -}}
{{- if has $driver.name $names -}}
{{- fail (printf "drivers: %q is there twice" $driver.name) -}}
{{- end -}}
{{- $names = append $names $driver.name -}}
{{- $namespace := $driver.leaseNamespace | default $.Release.Namespace -}}
{{- $known := false -}}
{{- range $group := $groups -}}
{{- if eq $group.namespace $namespace -}}
{{- $known = true -}}
{{- $_ := set $group "drivers" (append $group.drivers $driver) -}}
{{- end -}}
{{- end -}}
{{- if not $known -}}
{{- $fullname := include "resizer.fullname" $ -}}
{{- $name := $groups | empty | ternary $fullname (printf "%s-%s" $fullname $namespace | trunc 63 | trimSuffix "-") -}}
{{- $groups = append $groups (dict "namespace" $namespace "name" $name "drivers" (list $driver)) -}}
{{- end -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{/* The user of a group's pods: as told, else 0 where root bound a socket, else 65532. */}}
{{- define "resizer.user" -}}
{{- $user := 65532 -}}
{{- range $driver := .group.drivers -}}
{{- if hasKey $driver "hostPath" -}}
{{- $user = 0 -}}
{{- else if eq (toString (dig "securityContext" "runAsUser" "" $driver.container)) "0" -}}
{{- $user = 0 -}}
{{- end -}}
{{- end -}}
{{- kindIs "invalid" .root.Values.runAsUser | ternary $user .root.Values.runAsUser | int64 -}}
{{- end -}}

{{/* Settings of `config` that are the chart's own business. */}}
{{- define "resizer.checkConfig" -}}
{{- $own := dict
    "csi-address" "drivers" "leader-election" "replicas" "leader-election-namespace" "drivers[].leaseNamespace"
    "http-endpoint" "http.port" "metrics-address" "http.port" "tls-cert-file" "http.tlsSecret" "tls-key-file" "http.tlsSecret"
    "debug-authentication" "http.debugAuthentication" "shutdown-grace" "shutdownGraceSeconds"
    "nudge" "nudge.enabled" "node-mode" "nodeAgent.enabled" "driver-rules" "driverRules" "kubeconfig" "serviceAccount" -}}
{{- range $name, $_ := .Values.config -}}
{{- $setting := $name | replace "_" "-" -}}
{{- if hasKey $own $setting -}}
{{- fail (printf "config: %q is set by the chart: use %s" $name (get $own $setting)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.http.debugAuthentication (not .Values.http.tlsSecret) -}}
{{- fail "http.debugAuthentication needs http.tlsSecret: over plain HTTP anybody on the way reads the tokens" -}}
{{- end -}}
{{- end -}}
