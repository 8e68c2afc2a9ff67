"""The gateway's live page of all breakers: its data, the stream of events, and the page itself."""
