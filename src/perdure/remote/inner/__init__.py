"""Code that a server runs itself, for its apps: a worker of its own in the same process."""
