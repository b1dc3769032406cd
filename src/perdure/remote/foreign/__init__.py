"""Perdure's worker and client at a server that is no Perdure: a Dapr sidecar, or another Durable Task backend."""
