"""gRPC: its server, its log and its traces."""
