"""The school service: schools over HTTP, and over gRPC for other services."""
