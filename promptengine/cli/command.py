"""A command of the command line, as an object."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Command"]


@dataclass(frozen=True, slots=True)
class Command:
    """What stands behind ``promptengine NAME``.

    Attributes:
        name: As users write it.
        help: One line for the list of commands.
        add_arguments: Adds its options to a parser, and what to run as the default ``run``: a function
            that takes the parsed options and returns the exit status.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
