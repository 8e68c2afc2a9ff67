"""Recommends constants for breakers.toml from a recorded call log."""
