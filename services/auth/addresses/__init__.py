"""E-mail addresses of accounts: the keys that find an account, and their rewriting."""
