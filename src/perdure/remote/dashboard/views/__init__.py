"""What pages show, decided without I/O: histories as bars, graphs and rows; values and times as text."""
