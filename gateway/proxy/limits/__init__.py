"""The counters of the rate limits, in this process and shared with others."""
