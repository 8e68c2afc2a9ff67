"""Limits on what one client may cost the others: failed attempts, and hashes of passwords."""
