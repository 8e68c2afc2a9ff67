"""The private files of the stack, and the users of its MongoDB."""
