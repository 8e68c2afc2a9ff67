"""Operators' commands for all instances of one kind of process, in force until they are lifted."""
