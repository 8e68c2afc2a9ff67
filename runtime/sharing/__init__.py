"""What processes share through Valkey: breakers, operators' commands, rate limits, and what they show."""
