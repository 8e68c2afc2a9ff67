"""Operator tooling: the stack's processes under supervisor. Nothing else imports it."""
