"""The services behind the gateway. Each of auth, school and student is a process."""
