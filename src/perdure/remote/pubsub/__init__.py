"""Pub/sub as programs of Dapr ask for it: components, what is published to them, and who is given it."""
