"""What is due: timers, delayed starts, deadlines and next attempts, near enough to be kept in memory."""
