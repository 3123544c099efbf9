{{/* What both policies read of the metadata, before and after; a field that is not there counts as empty. */}}
{{- define "resizer.policyVariables" -}}
{{- range $field, $none := dict "labels" "{}" "annotations" "{}" "finalizers" "[]" "ownerReferences" "[]" }}
- name: {{ $field }}
  expression: "has(object.metadata.{{ $field }}) ? object.metadata.{{ $field }} : {{ $none }}"
- name: {{ printf "old-%s" $field | camelcase | untitle }}
  expression: "has(oldObject.metadata.{{ $field }}) ? oldObject.metadata.{{ $field }} : {{ $none }}"
{{- end }}
{{- end -}}

{{/* The parts of the metadata that nobody may touch; called with the beginning of the message. */}}
{{- define "resizer.policyValidations" -}}
- expression: variables.finalizers == variables.oldFinalizers
  message: {{ . }} finalizers alone
- expression: variables.ownerReferences == variables.oldOwnerReferences
  message: {{ . }} owners alone
{{- end -}}
