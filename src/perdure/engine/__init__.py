"""Workflows and activities as actors: turns, attempts, lifecycle, queries, diagnosis."""
