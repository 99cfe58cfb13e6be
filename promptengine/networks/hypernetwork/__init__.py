"""Hypernetworks: the module, its files, and its place in a model's attention."""
