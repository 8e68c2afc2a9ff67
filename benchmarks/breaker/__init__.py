"""The cost of a guarded call, beside other Python breakers."""
