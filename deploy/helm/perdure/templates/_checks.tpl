{{/* What no schema can say: values that do not go together, each refused with what to change. */}}

{{- define "perdure.check" -}}
{{- $server := .Values.server -}}
{{- if eq .Values.run "server" -}}
{{- if not .Values.store.secretName -}}
{{- fail "a server needs a store: name the Secret that holds its URL in store.secretName" -}}
{{- end -}}
{{- if and (not $server.tls.secretName) $server.tls.clientCaSecretName -}}
{{- fail "server.tls.clientCaSecretName needs TLS: name a Secret of type kubernetes.io/tls in server.tls.secretName" -}}
{{- end -}}
{{- if not $server.allowInsecurePublic -}}
{{- if not $server.tls.secretName -}}
{{- fail "other pods could listen in: name a Secret of type kubernetes.io/tls in server.tls.secretName, or set server.allowInsecurePublic where a service mesh encrypts" -}}
{{- end -}}
{{- if not (or $server.token.secretName $server.tls.clientCaSecretName) -}}
{{- fail "anybody could call: name a Secret in server.token.secretName or server.tls.clientCaSecretName, or set server.allowInsecurePublic where a service mesh knows the callers" -}}
{{- end -}}
{{- end -}}
{{- if eq (int $server.grpcPort) (int $server.httpPort) -}}
{{- fail "server.grpcPort and server.httpPort are the same; each has to differ" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled would both set the number of replicas; enable one of them" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if .Values.keda.enabled -}}
{{- if gt (int .Values.keda.minReplicas) (int .Values.keda.maxReplicas) -}}
{{- fail "keda.minReplicas is above keda.maxReplicas" -}}
{{- end -}}
{{- if and (eq .Values.run "server") (not .Values.keda.minReplicas) -}}
{{- fail "nobody would tell KEDA of work: keep one server with keda.minReplicas 1, and scale the release with run: app to zero" -}}
{{- end -}}
{{- if and (eq .Values.run "server") $server.tls.clientCaSecretName (not .Values.keda.scaler.address) (not .Values.keda.scaler.clientCertSecretName) -}}
{{- fail "the server asks its callers for certificates, and KEDA is one: name a Secret of type kubernetes.io/tls in keda.scaler.clientCertSecretName" -}}
{{- end -}}
{{- if and (eq .Values.run "app") (not .Values.keda.scaler.address) -}}
{{- fail "an embedded app tells KEDA nothing: give HOST:PORT of a `perdure serve` on the same store in keda.scaler.address" -}}
{{- end -}}
{{- end -}}
{{- end -}}
