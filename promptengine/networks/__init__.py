"""Hypernetworks and LoRAs: the modules, their files, and their place in a model.

Knows neither prompts nor plans: the names of this package take networks and multipliers.
"""
