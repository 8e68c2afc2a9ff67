"""The panel: all breakers of a process by name, with their supervisor."""
