"""Civitai as a server asks it for its clients: searches, previews, downloads. Loaded only where it may be asked."""
