"""Scores trip policies on recorded kinds of incidents, in a simulator with the same dice for all."""
