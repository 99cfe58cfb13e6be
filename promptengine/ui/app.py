"""The page as a whole, mounted on the server's application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import gradio as gr
from fastapi import FastAPI
from gradio.utils import get_upload_folder
from starlette.routing import Mount

from promptengine.inspection import size_of_checkpoint
from promptengine.server.app import PAGE
from promptengine.server.state import Service
from promptengine.ui.common import QUICK
from promptengine.ui.controls.networks import checkpoint_choice, chosen_checkpoint
from promptengine.ui.guard import ToolkitGuard
from promptengine.ui.tabs.generate import create_tab
from promptengine.ui.tabs.png_info import info_tab
from promptengine.ui.tabs.train import train_tab
from promptengine.ui.thumbnails import router

__all__ = ["add_page"]

_CACHE_AGE_S: Final = 24 * 3600
_ICON: Final = (
    "<link rel='icon' href=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'>"
    "<path fill='%238b5cf6' d='M12 1c1 7 4 10 11 11-7 1-10 4-11 11-1-7-4-10-11-11 7-1 10-4 11-11z'/></svg>\">"
)
_MANIFEST: Final[dict[str, str]] = {
    "name": "promptengine",
    "start_url": PAGE.lstrip("/"),
    "display": "standalone",
}

_TITLE: Final = (
    '<div class="pe-title"><span class="pe-mark" aria-hidden="true">✦</span>'
    "<h1>promptengine</h1></div>"
)


def add_page(app: FastAPI) -> Callable[[], None]:
    """Show the page at ``/ui/``, and lead those who ask for ``/`` there.

    Args:
        app: A server's, as :func:`promptengine.server.app.create_app` makes it.

    Returns:
        What to call in the server's loop when it begins to stop: it lets go of open pages.
    """
    service: Service = app.state.service

    @app.get("/manifest.json", include_in_schema=False)
    async def manifest() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return _MANIFEST

    app.include_router(router)
    # Where no event loop runs, the toolkit opens several of its own and closes none.
    return asyncio.run(_mounted(app, service))


async def _mounted(app: FastAPI, service: Service) -> Callable[[], None]:
    own = files("promptengine.ui")
    blocks = _blocks(service)
    script = own.joinpath("page.js").read_text(encoding="utf-8")
    gr.mount_gradio_app(
        app,
        blocks,
        PAGE.rstrip("/"),
        footer_links=[],
        run_history=False,
        show_error=False,
        enable_monitoring=False,
        max_file_size=service.config.limits.body_bytes,
        ssr_mode=False,
        pwa=False,
        theme=_theme(),
        css=own.joinpath("page.css").read_text(encoding="utf-8"),
        head=f"{_ICON}<script>{script}</script>",
    )
    mounted = next(r for r in app.routes if isinstance(r, Mount) and r.path == PAGE.rstrip("/"))
    toolkit: Any = mounted.app
    # Only then does the toolkit look at paths itself.
    blocks.has_launched = True
    mounted.app = ToolkitGuard(toolkit, Path(get_upload_folder()), service.config.limits)
    return toolkit.stop_event.set


def _theme() -> gr.themes.Base:
    sans = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    mono = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
    return gr.themes.Base(
        primary_hue="violet",
        secondary_hue="violet",
        neutral_hue="slate",
        radius_size="lg",
        font=sans,
        font_mono=mono,
    )


def _blocks(service: Service) -> gr.Blocks:
    model = service.settings.model.checkpoint
    size = size_of_checkpoint(model, service.config.model_config)
    with gr.Blocks(
        title="promptengine",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, _CACHE_AGE_S),
    ) as blocks:
        with gr.Row(elem_id="pe-head"):
            gr.HTML(_TITLE)
            controls = checkpoint_choice(service)
            gr.HTML(
                '<button type="button" id="pe-theme" aria-label="light or dark" '
                'title="light or dark">◐</button>'
            )
        with gr.Tabs(elem_id="pe-tabs") as tabs:
            with gr.Tab("Create", id="create"):
                controls = create_tab(service, controls, size)
            with gr.Tab("PNG Info", id="info"):
                info_tab(service, controls, tabs)
            with gr.Tab("Train", id="train"):
                train_tab(service, blocks)
        blocks.load(partial(chosen_checkpoint, service), None, controls["checkpoint"], **QUICK)
    return blocks
