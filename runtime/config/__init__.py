"""What a process is configured by."""
