"""What a breaker goes by: its policy, as values that are checked when they are made."""
