{{/* The container of a pod: how it starts, what it is given and how it is asked for its health. */}}

{{- define "perdure.serverArguments" -}}
{{- $server := .Values.server -}}
- serve
- --app-id={{ include "perdure.appId" . }}
- --host={{ $server.host }}
- --grpc-port={{ int $server.grpcPort }}
- --http-port={{ int $server.httpPort }}
- --drain-seconds={{ int .Values.drainSeconds }}
- --json
{{- if $server.tls.secretName }}
- --tls-cert={{ $server.secretsPath }}/tls/tls.crt
- --tls-key={{ $server.secretsPath }}/tls/tls.key
{{- end }}
{{- if $server.tls.clientCaSecretName }}
- --client-ca={{ $server.secretsPath }}/client-ca/ca.crt
{{- end }}
{{- if $server.token.secretName }}
- --api-token-file={{ $server.secretsPath }}/token/token
{{- end }}
{{- if $server.allAppsToken.secretName }}
- --all-apps-token-file={{ $server.secretsPath }}/all-apps-token/token
{{- end }}
{{- if $server.allowInsecurePublic }}
- --allow-insecure-public
{{- end }}
{{- range $server.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Secrets that a server reads as files: a list of {name, secret, items}. */}}
{{- define "perdure.files" -}}
{{- $server := .Values.server -}}
{{- if eq .Values.run "server" -}}
{{- if $server.tls.secretName }}
- name: tls
  secret: {{ $server.tls.secretName }}
  items: {tls.crt: tls.crt, tls.key: tls.key}
{{- end }}
{{- if $server.tls.clientCaSecretName }}
- name: client-ca
  secret: {{ $server.tls.clientCaSecretName }}
  items: {ca.crt: ca.crt}
{{- end }}
{{- if $server.token.secretName }}
- name: token
  secret: {{ $server.token.secretName }}
  items: {{ dict $server.token.key "token" | toJson }}
{{- end }}
{{- if $server.allAppsToken.secretName }}
- name: all-apps-token
  secret: {{ $server.allAppsToken.secretName }}
  items: {{ dict $server.allAppsToken.key "token" | toJson }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The kubelet has no certificate, so where callers need one it can only see that the port is open. */}}
{{- define "perdure.serverProbe" -}}
{{- $server := .root.Values.server -}}
{{- if $server.tls.clientCaSecretName -}}
tcpSocket:
  port: grpc
{{- else -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ ternary "HTTPS" "HTTP" (not (empty $server.tls.secretName)) }}
{{- end }}
{{- end -}}

{{- define "perdure.probes" -}}
{{- if eq .Values.run "server" -}}
startupProbe:
  {{- include "perdure.serverProbe" (dict "root" . "path" "/v1.0/healthz/live") | nindent 2 }}
  periodSeconds: 2
  failureThreshold: {{ div (add (int .Values.server.startSeconds) 1) 2 }}
readinessProbe:
  {{- include "perdure.serverProbe" (dict "root" . "path" "/v1.0/healthz") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  {{- include "perdure.serverProbe" (dict "root" . "path" "/v1.0/healthz/live") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- else if .Values.app.port -}}
{{- with .Values.app.readinessPath }}
readinessProbe:
  httpGet:
    path: {{ . }}
    port: http
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}
{{- with .Values.app.livenessPath }}
livenessProbe:
  httpGet:
    path: {{ . }}
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
{{- end -}}
{{- end -}}
