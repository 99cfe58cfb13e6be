"""``promptengine serve``: its options, and what becomes of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from promptengine.app.commands import folders_of
from promptengine.errors import RequestError
from promptengine.server.config import Limits, ServerConfig

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["add_options", "run"]

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")
_NEEDED_FOR_PAGE = "gradio"
_NEEDED_FOR_REPLICAS = "ray"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this command has; folders and the checkpoint are those of the others."""
    usual, limits = ServerConfig(), Limits()
    parser.description = (
        "Serve WebUI's HTTP API and our own, which needs the extra 'server', and with the extra "
        "'web' a page at /ui/."
    )
    add = parser.add_argument_group("server").add_argument
    add("--host", default=usual.host, metavar="ADDRESS", help=f"default: {usual.host}")
    add("--port", type=int, default=usual.port, metavar="N", help=f"default: {usual.port}")
    add(
        "--api-auth",
        default="",
        metavar="NAME:PASSWORD",
        help="let nobody else in; several with commas between; a password may hold colons",
    )
    add("--cors-allow-origins", default="", metavar="ORIGINS", help="of pages, with commas, or *")
    add("--cors-allow-origins-regex", metavar="REGEX", help="the same as a pattern")
    add("--hide-paths", action="store_true", help="tell clients paths below the folders only")
    add("--queue", type=int, default=usual.queue, metavar="N", help="jobs that may wait")
    add("--styles", type=Path, metavar="FILE", help="WebUI's styles.csv")
    add("--grace", type=float, default=usual.grace_s, metavar="S", help="to finish when stopped")
    add("--compile", action="store_true", help="torch.compile; pays for many pictures of one size")
    add("-o", "--output", type=Path, default=usual.output, metavar="DIR", help="for saved pictures")
    add("--max-pixels", type=int, default=limits.pixels, metavar="N", help="of a picture")
    add("--max-steps", type=int, default=limits.steps, metavar="N", help="of a pass")
    add("--max-pictures", type=int, default=limits.pictures, metavar="N", help="of a request")
    add("--ray", action="store_true", help="engines in processes of their own, by Ray Serve")
    add("--replicas", type=int, default=1, metavar="N", help="how many of them; default: 1")
    add("--no-page", action="store_true", help="the API alone, also where the extra 'web' is")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to end.

    Raises:
        RequestError: The extra is not installed, or an option cannot be used.
        CheckpointError: There is no checkpoint, or none of the name.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        message = "promptengine serve needs the extra 'server': pip install 'promptengine[server]'"
        raise RequestError(message, field="serve")
    from promptengine.app.txt2img import quiet_libraries
    from promptengine.server.security import read_users
    from promptengine.server.serve import serve

    quiet_libraries()
    limits = replace(
        Limits(),
        pixels=options.max_pixels,
        steps=options.max_steps,
        pictures=options.max_pictures,
    )
    folders = folders_of(options)
    serve(
        ServerConfig(
            host=options.host,
            port=options.port,
            models=dict(folders) if isinstance(folders, Mapping) else folders,
            checkpoint=options.checkpoint,
            model_config=options.config,
            vae="Automatic" if options.vae is None else options.vae,
            devices=_split(options.device),
            dtype=options.dtype,
            compile=options.compile,
            replicas=_replicas(options),
            output=options.output,
            styles=options.styles,
            users=read_users(options.api_auth),
            cors_origins=_split(options.cors_allow_origins),
            cors_origins_regex=options.cors_allow_origins_regex,
            hide_paths=options.hide_paths,
            queue=options.queue,
            grace_s=options.grace,
            limits=limits,
        ),
        None if options.no_page else _page(),
    )
    return 0


def _replicas(options: argparse.Namespace) -> int:
    """How many engines run in processes of their own; 0 for none.

    Raises:
        RequestError: Replicas without Ray, less than one, or the extra is not installed.
    """
    if options.replicas < 1:
        raise RequestError(f"--replicas {options.replicas}: at least 1", field="replicas")
    if not options.ray:
        if options.replicas > 1:
            raise RequestError("--replicas is for --ray; add it", field="replicas")
        return 0
    if find_spec(_NEEDED_FOR_REPLICAS) is None:
        message = "--ray needs the extra 'ray': pip install 'promptengine[ray]'"
        raise RequestError(message, field="ray")
    return options.replicas


def _page() -> Callable[[FastAPI], Callable[[], None]] | None:
    """What adds the page to a server, or None where its extra is not installed."""
    if find_spec(_NEEDED_FOR_PAGE) is None:
        return None
    from promptengine.web.page import add_page

    return add_page


def _split(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())
