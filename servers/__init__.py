"""Real servers for tests and benchmarks: temporary data, loopback only, ended by whoever started them."""
