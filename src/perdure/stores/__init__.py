"""Databases behind one contract: the only room that knows one."""
