"""Readers of other programs' images."""
