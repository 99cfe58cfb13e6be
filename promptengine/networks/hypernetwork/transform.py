"""Whose inputs a hypernetwork changes."""

from __future__ import annotations

from typing import Literal

__all__ = ["Transform"]

Transform = Literal["key,value", "key,query"]
"""Whose inputs the two networks of a width change. Files of WebUI mean ``key,value`` always."""
