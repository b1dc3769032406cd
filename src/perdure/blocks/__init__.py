"""Building blocks beside workflows: actors, state, pub/sub, and the resource files that configure them."""
