"""The HTTP API of our own."""
