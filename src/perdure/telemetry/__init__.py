"""What a process counts of itself and says about it."""
