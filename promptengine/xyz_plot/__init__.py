"""X/Y/Z plots: one request drawn over and over, with something else along each axis."""
