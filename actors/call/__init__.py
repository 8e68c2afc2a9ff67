"""A call through a breaker: admission, bulkhead, outcome, and the gate that spares callers a message."""
