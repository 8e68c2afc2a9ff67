"""Benchmarks of the breaker, of the gateway and of observing them, and the conformance of other breakers."""
