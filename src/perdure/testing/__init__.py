"""What tests of workflows and of stores need."""
