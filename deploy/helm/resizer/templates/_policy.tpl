{{/* What both policies ask of metadata: CEL variables, and the parts that nobody may touch. */}}
{{- define "resizer.metadataVariables" -}}
{{- range $name, $field := dict "abels" "labels" "inalizers" "finalizers" "wners" "ownerReferences" }}
{{- $first := substr 0 1 $field }}
{{- $none := eq $field "labels" | ternary "{}" "[]" }}
- name: {{ $first }}{{ $name }}
  expression: "has(object.metadata.{{ $field }}) ? object.metadata.{{ $field }} : {{ $none }}"
- name: old{{ upper $first }}{{ $name }}
  expression: "has(oldObject.metadata.{{ $field }}) ? oldObject.metadata.{{ $field }} : {{ $none }}"
{{- end }}
{{- end -}}

{{- define "resizer.metadataValidations" -}}
- expression: variables.finalizers == variables.oldFinalizers
  message: {{ . }} finalizers alone
- expression: variables.owners == variables.oldOwners
  message: {{ . }} owners alone
{{- end -}}
