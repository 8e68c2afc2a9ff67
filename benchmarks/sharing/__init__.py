"""What sharing breakers costs: a call, and the store."""
