"""Chaos: real nodes on one real store, a seeded nemesis, and a ledger of effects that no engine can touch."""
