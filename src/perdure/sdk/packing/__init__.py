"""Payloads are packed on their way to the engine and unpacked on their way to code and clients; here and nowhere else.

Both ports of the engine are wrapped where an app or client has a codec: `worker` wraps the one to code, `gateway` the
one to clients. Without a codec neither is there, and nothing of this is run.
"""
