"""The demo: outages and recoveries on a stack of its own, which tests use as well."""
