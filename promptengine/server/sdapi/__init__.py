"""WebUI's HTTP API."""
