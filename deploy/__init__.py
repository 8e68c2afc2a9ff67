"""Operator tooling: runs the stack's processes under supervisor. No other package imports it."""
