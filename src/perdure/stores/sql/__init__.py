"""The store for SQL databases: one set of records and steps, a small object per dialect."""
