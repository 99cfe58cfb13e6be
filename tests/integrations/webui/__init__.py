"""A WebUI as it is."""
