"""A call through a breaker: its admission, its place, its outcome, and what callers read to need no message."""
