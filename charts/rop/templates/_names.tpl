{{- define "rop.name" -}}
{{- if eq .Release.Name "rop" -}}rop-operator{{- else -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}-rop-operator{{- end -}}
{{- end -}}

{{- define "rop.selector" -}}
app.kubernetes.io/name: rop-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rop.labels" -}}
{{ include "rop.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "rop.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "rop.namespaces" -}}
{{- join "," (.Values.namespaces | default (list .Release.Namespace)) -}}
{{- end -}}
