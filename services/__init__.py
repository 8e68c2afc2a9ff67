"""The services behind the gateway; each is a process of its own."""
