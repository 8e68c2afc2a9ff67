"""Several worker processes on one port."""
