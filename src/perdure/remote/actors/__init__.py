"""Actors of programs that host them with one of Dapr's SDKs: each is an entity of ours, and a method is its turn."""
