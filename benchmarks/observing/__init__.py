"""The cost of scrapes, open dashboards and traces for the calls that they observe."""
