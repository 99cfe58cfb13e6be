"""LoRA and its kin: files of small changes to a model's weights.

``keys`` reads the names in a file, ``kinds`` tells what a module's tensors are, ``files`` reads a file,
``deltas`` turns a module into a change of weights, ``merge`` finds the model's modules and changes them
for the length of a ``with`` block. Nothing here knows prompts or plans.
"""
