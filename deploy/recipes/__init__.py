"""What single recipes do: accounts and keys, reload, the audit, generated files."""
