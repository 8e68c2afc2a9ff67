"""The operators' view of a process's breakers: history, commands over HTTP, webhook."""
