"""What crosses a boundary between the parts. No behaviour, no I/O, no trio."""
