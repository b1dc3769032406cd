"""Metrics for Prometheus: which there are, and how they are asked for. prometheus-client writes the text."""
