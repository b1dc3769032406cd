"""The calls of the two protocols, bytes to bytes; which transport brings them they do not know."""
