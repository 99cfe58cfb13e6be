"""Which model files there are, and what lies beside them."""
