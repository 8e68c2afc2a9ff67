"""The rules of forwarding: charging failures, probing, rewriting paths."""
