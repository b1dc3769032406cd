"""Perdure's own form of the workers' protocol, for both ends: its codec, its worker, its client."""
