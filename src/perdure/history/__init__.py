"""Pure: what happened to a run and what must follow. No I/O, no clock, no randomness, no database, no network."""
