"""The student service: students of schools that exist, over HTTP."""
