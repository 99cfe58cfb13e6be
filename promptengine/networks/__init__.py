"""Hypernetworks: the module, its files, and its place in a UNet.

Knows neither prompts nor plans: the names of this package take networks and multipliers.
"""
