"""Who runs an actor, one turn at a time: activations, mailboxes, the committer, leases."""
