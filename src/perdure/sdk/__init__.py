"""What people write workflows with, and the in-process worker that runs them."""
