"""The way of a proxied request: what is let in, what goes to the service, what comes back."""
