"""MongoDB: its client, its collections and its traces."""
