"""Accounts and tokens: sign-up, login, refresh, validation, logout, and the public keys."""
