"""Adapters that run the conformance suite on other Python breakers."""
