"""HTML made by plain functions."""
