"""Connections to the services: resolving, TLS, pools, load balancing, and reading responses."""
