"""Configuration: settings from the environment, and breakers.toml."""
