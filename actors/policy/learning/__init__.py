"""What Adaptive has learned, and the arithmetic of its test."""
