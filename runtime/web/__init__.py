"""What the HTTP applications of all processes share."""
