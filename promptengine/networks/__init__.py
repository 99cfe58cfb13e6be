"""Hypernetworks and LoRAs: the modules, their files, and their place in a model.

What these are to the rest of the package say the objects of :mod:`promptengine.kinds`.
"""
