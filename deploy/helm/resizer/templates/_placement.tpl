{{/* Where the pods of a group run: affinity, nodes, tolerations, spread. */}}
{{- define "resizer.placement" -}}
{{- $root := .root -}}
{{- $labels := include "resizer.selector" $root | fromYaml -}}
{{- $labels = merge $labels (dict "app.kubernetes.io/component" "controller" "csi-resizer.dev/deployment" .group.name) -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $placement := dict -}}
{{- if $root.Values.affinity -}}
{{- $_ := set $placement "affinity" $root.Values.affinity -}}
{{- else if eq $root.Values.antiAffinity "required" -}}
{{- $_ := set $placement "affinity" (dict "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term))) -}}
{{- else if eq $root.Values.antiAffinity "preferred" -}}
{{- $preferred := dict "weight" 100 "podAffinityTerm" $term -}}
{{- $_ := set $placement "affinity" (dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list $preferred))) -}}
{{- end -}}
{{- range $key := list "nodeSelector" "tolerations" "topologySpreadConstraints" -}}
{{- with get $root.Values $key -}}
{{- $_ := set $placement $key . -}}
{{- end -}}
{{- end -}}
{{- if $placement -}}
{{- toYaml $placement -}}
{{- end -}}
{{- end -}}
