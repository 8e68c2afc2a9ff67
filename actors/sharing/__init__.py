"""Breakers shared between instances: pooled evidence opens them, one lease at a time probes."""
