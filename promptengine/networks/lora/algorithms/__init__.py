"""The algorithms of the LoRA family: one object each, in the order in which they are tried.

A new one is one :class:`~promptengine.networks.lora.algorithms.algorithm.LoraAlgorithm` and one entry of
:data:`~promptengine.networks.lora.algorithms.table.ALGORITHMS`. What all have in common (an added ``bias``,
the scale, DoRA, the multiplier) stands in :mod:`promptengine.networks.lora.delta`. No torch is loaded before
something is computed.
"""
