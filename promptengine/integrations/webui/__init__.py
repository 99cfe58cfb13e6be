"""An installation of AUTOMATIC1111's WebUI or of Forge as it is: its folders, styles, settings and defaults.

All of it is read and nothing is written; no file of it is run. No torch, but in :mod:`promptengine.integrations.webui.models`.
"""
