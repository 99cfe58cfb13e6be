"""LoRA and its kin: files of small changes to a model's weights.

``keys`` reads the names in a file, ``algorithms`` holds one object for each way to write a change into
tensors, ``files`` reads a file, ``delta`` turns a module into a change of a weight, ``merge`` finds the model's
modules and changes them for the length of a ``with`` block. Nothing here knows prompts or plans.
"""
