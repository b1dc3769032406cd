"""Which remote worker gets which work, and what becomes of work that is not answered."""
