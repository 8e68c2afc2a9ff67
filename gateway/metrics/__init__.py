"""The counts of requests, and their metrics for Prometheus."""
