"""WebUI's prompts, hypernetworks and samplers as nodes of ComfyUI.

ComfyUI finds them through the folder that ``promptengine comfyui install`` writes. Nothing of ComfyUI is
imported before one of its nodes runs.
"""
