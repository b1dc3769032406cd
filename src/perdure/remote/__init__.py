"""The only room that knows the network: workers and clients of other processes and languages."""
