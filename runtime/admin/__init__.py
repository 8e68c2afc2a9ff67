"""How operators see and steer the breakers of a process."""
