"""Durable workflows in Python: ordinary code that survives crashes, restarts and deploys."""
