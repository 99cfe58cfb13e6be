"""Civitai's public REST API: searches, downloads, and what hashes belong to.

``web`` asks hosts by rules of its own, ``shapes`` reads answers, ``site`` knows the addresses, ``fetch`` gets a file
piece by piece, ``keep`` decides what becomes of it. Nothing here is imported but by the commands that need it, and
nothing asks any host unless a user asks for that.
"""
