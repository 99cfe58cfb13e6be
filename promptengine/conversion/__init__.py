"""Hypernetworks as LoRAs: for programs that have no hypernetworks.

``sites`` finds the projections that a network changes, ``fit`` finds a linear change for each of them from sums
over activations, ``to_lora`` samples these from a checkpoint, writes the file, and measures what is lost.
"""
