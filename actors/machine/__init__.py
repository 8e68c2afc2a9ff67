"""The rules of a circuit breaker, pure: no clock, no task, no I/O."""
