"""The reverse proxy in front of the three services, with a breaker for each."""
