"""What the recipes print."""
