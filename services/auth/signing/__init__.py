"""The keys that sign access tokens, their storage and their rotation."""
