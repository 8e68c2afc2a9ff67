"""The gateway's throughput and latency, beside FastAPI, nginx and bare servers."""
