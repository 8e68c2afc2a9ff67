"""What every process of the stack does alike: settings, logs, serving, answers, tokens."""
