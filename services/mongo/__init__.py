"""MongoDB for trio: client, repositories, spans, breaker and probe."""
