"""Writes one line for each call through a breaker, for `just tune`. Off unless CALL_LOG names a file."""
