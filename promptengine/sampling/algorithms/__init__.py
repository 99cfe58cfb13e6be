"""The stepping functions, by family. Their names and settings are in ``diffusion/sampling.py``."""
