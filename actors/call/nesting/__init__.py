"""Calls within calls: a call that runs inside of another call through the same breaker joins that call.

A probe that calls through its own breaker would be rejected by itself, and one failure would count twice.
Most calls register in a context variable (held_call). The fastest call styles don't, since that would cost
a third of them: a caller finds them on the stack, after a failure or a rejection (fast_calls). The stack of a
parent task doesn't show whether a child's nursery was opened inside of such a call. There, the exception that
has been counted is marked (counted_failures).
"""
