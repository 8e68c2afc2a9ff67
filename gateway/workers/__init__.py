"""Several processes that serve one port, and are shown and steered as one gateway."""
