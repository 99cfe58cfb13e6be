"""Textual inversion: embeddings, their files, and their words in a prompt."""
