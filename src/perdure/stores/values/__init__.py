"""Values by key, on every kind of database that a store of workflows can be kept on, in tables of their own."""
