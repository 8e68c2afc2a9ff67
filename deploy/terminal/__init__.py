"""The terminal views: `just watch`, `just health`, `just logs`."""
