"""gRPC for trio: server, request log, spans, verdict and probe."""
