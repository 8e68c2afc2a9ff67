"""The walk-through: a stack of its own, broken and mended."""
