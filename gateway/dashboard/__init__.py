"""The gateway's live page of all breakers: what feeds it, the stream of events, and the page itself."""
