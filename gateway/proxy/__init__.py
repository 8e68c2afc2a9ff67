"""Forwards requests to the services: admission, header fields, streaming, and charging of failures."""
