"""``promptengine serve``: its options, and what becomes of them."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from promptengine.cli.model_folders import add_model_folders, folders_of, roots_of, styles_of
from promptengine.cli.offload import add_offload, offload_of
from promptengine.cli.options import add_checkpoint
from promptengine.errors import RequestError
from promptengine.server.config import Limits, ServerConfig

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["add_arguments"]

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "fastapi_offline")
_NEEDED_FOR_REPLICAS = "ray"
_NEEDED_FOR_CIVITAI = "httpx"
_PASSWORDS = "PROMPTENGINE_API_AUTH"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    usual, limits = ServerConfig(), Limits()
    parser.description = "Serve WebUI's HTTP API, our own, and a page in the browser, which needs the extra 'server'."
    add = parser.add_argument_group("server").add_argument
    add("--host", default=usual.host, metavar="ADDRESS", help=f"default: {usual.host}")
    add("--port", type=int, default=usual.port, metavar="N", help=f"default: {usual.port}")
    add(
        "--allowed-hosts",
        default="",
        metavar="NAMES",
        help="more names it is reached by, with commas",
    )
    add("--subpath", default="", metavar="PATH", help="where a proxy shows it, such as /sd")
    add("--tls-certfile", type=Path, metavar="FILE", help="speak TLS, with this certificate (PEM)")
    add("--tls-keyfile", type=Path, metavar="FILE", help="its key, where it is in another file")
    add(
        "--api-auth",
        metavar="NAME:PASSWORD",
        help="let nobody else in; several with commas between; a password may hold colons. Other users "
        f"of the machine can read it off the list of processes: rather set {_PASSWORDS}",
    )
    add("--api-auth-file", type=Path, metavar="FILE", help="the same, NAME:PASSWORD on each line")
    add("--cors-allow-origins", default="", metavar="ORIGINS", help="of pages, with commas, or *")
    add("--cors-allow-origins-regex", metavar="REGEX", help="the same as a pattern")
    add("--hide-paths", action="store_true", help="tell clients paths below the folders only")
    add("--queue", type=int, default=usual.queue, metavar="N", help="jobs that may wait")
    add(
        "--styles",
        type=Path,
        metavar="FILE",
        help="WebUI's file of styles, made when one is saved; default: styles.csv, or that of --webui",
    )
    add(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one of WebUI's settings to begin with, such as eta_ancestral=0.5; may be repeated",
    )
    add(
        "--civitai",
        action="store_true",
        help="let clients search Civitai and download from it into the models folder, with the token in "
        "CIVITAI_API_TOKEN if there is one; without it the server asks nobody",
    )
    add("--grace", type=float, default=usual.grace_s, metavar="S", help="to finish when stopped")
    add("--compile", action="store_true", help="torch.compile; pays for many images of one size")
    add_offload(add)
    add("-o", "--output", type=Path, default=usual.output, metavar="DIR", help="for saved images")
    add(
        "--training",
        type=Path,
        default=usual.training,
        metavar="DIR",
        help="for trainings: data sets in DIR/data, and what they leave in DIR/runs",
    )
    add("--no-save", action="store_true", help="keep no images of the native API's jobs there")
    add("--max-pixels", type=int, default=limits.pixels, metavar="N", help="of an image")
    add("--max-steps", type=int, default=limits.steps, metavar="N", help="of a pass")
    add("--max-images", type=int, default=limits.total_images, metavar="N", help="of a request")
    add("--ray", action="store_true", help="engines in processes of their own, by Ray Serve")
    add("--replicas", type=int, default=1, metavar="N", help="how many of them; default: 1")
    add("--no-page", action="store_true", help="the API alone, without the page")
    add_model_folders(parser)
    add_checkpoint(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Serve until the process is told to end.

    Raises:
        RequestError: The extra is not installed, or an option cannot be used.
        CheckpointError: There is no checkpoint, or none of the name.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        message = "promptengine serve needs the extra 'server': pip install 'promptengine[server]'"
        raise RequestError(message, field="serve")
    if options.civitai and find_spec(_NEEDED_FOR_CIVITAI) is None:
        message = "--civitai needs the extra 'civitai': pip install 'promptengine[civitai]'"
        raise RequestError(message, field="civitai")
    from promptengine.cli.generate import quiet_libraries
    from promptengine.cli.serve_settings import begin_with
    from promptengine.server.run import serve

    _check_folders(options)
    quiet_libraries()
    limits = replace(
        Limits(),
        pixels=options.max_pixels,
        steps=options.max_steps,
        total_images=options.max_images,
    )
    folders = folders_of(options)
    begun = begin_with(options, folders)
    serve(
        ServerConfig(
            host=options.host,
            port=options.port,
            allowed_hosts=_split(options.allowed_hosts),
            subpath=options.subpath.rstrip("/"),
            tls_certfile=options.tls_certfile,
            tls_keyfile=options.tls_keyfile,
            models=folders,
            checkpoint=begun.checkpoint,
            model_config=options.config,
            vae=begun.vae,
            vae_overrides=begun.vae_overrides,
            devices=_split(options.device),
            dtype=options.dtype,
            compile=options.compile,
            offload=offload_of(options, _split(options.device)),
            replicas=_replicas(options),
            output=options.output,
            training=options.training,
            save=not options.no_save,
            styles=styles_of(options),
            settings=begun.settings,
            form_defaults=begun.form_defaults,
            civitai=options.civitai,
            users=_users(options),
            cors_origins=_split(options.cors_allow_origins),
            cors_origins_regex=options.cors_allow_origins_regex,
            hide_paths=options.hide_paths,
            queue=options.queue,
            grace_s=options.grace,
            limits=limits,
        ),
        None if options.no_page else _add_page,
    )
    return 0


def _users(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """Who may use the server, from the one place that says so; empty where none does.

    Raises:
        RequestError: Several places do, the file cannot be read, or one names nobody.
    """
    from promptengine.server.auth import read_users

    given = {"--api-auth": options.api_auth, "--api-auth-file": options.api_auth_file}
    given[_PASSWORDS] = os.environ.get(_PASSWORDS)
    found = [(source, value) for source, value in given.items() if value is not None]
    if len(found) > 1:
        sources = " and ".join(source for source, _ in found)
        raise RequestError(f"{sources} both name users; keep one of them", field="api_auth")
    if not found:
        return ()
    source, value = found[0]
    if not isinstance(value, Path):
        return read_users(_split(value), source)
    try:
        lines = value.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise RequestError(f"{source} {value}: {reason}", field="api_auth_file") from None
    return read_users(lines, f"{source} {value}")


def _check_folders(options: argparse.Namespace) -> None:
    """Refuse folders that are none, before anything is loaded.

    Raises:
        RequestError: One is missing, or a file is in its place.
    """
    output = options.output
    is_file = options.checkpoint is not None and Path(options.checkpoint).exists()
    # A checkpoint's file is enough for a server without networks, and so are folders of ComfyUI's.
    needless = not options.models and (is_file or options.extra_model_paths_config)
    missing = next((root for root in roots_of(options) if not root.is_dir()), None)
    if missing is not None and not needless:
        message = f"--models: no such folder: {missing}; name WebUI's models folder or make it"
        raise RequestError(message, field="models")
    blocked = next((path for path in (output, *output.parents) if path.exists()), None)
    if blocked is not None and not blocked.is_dir():
        raise RequestError(f"--output {output}: {blocked} is a file, no folder", field="output")


def _replicas(options: argparse.Namespace) -> int:
    """Return how many engines run in processes of their own; 0 for none.

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


def _add_page(app: FastAPI) -> None:
    from promptengine.ui.studio.routes import add_studio

    add_studio(app)


def _split(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())
