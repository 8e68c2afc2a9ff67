"""The parts that all processes of the stack share: settings, logs, HTTP serving, errors and tokens."""
