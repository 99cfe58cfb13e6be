"""Servers with the page over folders of images, for tests of what is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from promptengine.images.save import save_image
from promptengine.server.app import create_app
from promptengine.server.config import ServerConfig
from promptengine.ui.studio.routes import add_studio
from tests.server.live import running, until
from tests.ui.studio.conftest import Made, StudioPage, models_in

INFOTEXT = (
    "{prompt}\nNegative prompt: fog\nSteps: 9, Sampler: DPM++ 2M, Schedule type: Karras, "
    "CFG scale: 4.5, Seed: 18446744073709551615, Size: 64x72, Model: none"
)
"""With a seed that JavaScript's own numbers cannot hold."""


def put(path: Path, prompt: str, age_s: int = 0, size: tuple[int, int] = (64, 72)) -> Path:
    """Write an image with an infotext, as one that was made some seconds before the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = (len(prompt) * 29 % 256, age_s * 41 % 256, 120)
    save_image(Image.new("RGB", size, color), path, INFOTEXT.format(prompt=prompt))
    os.utime(path, (1_700_000_000 - age_s, 1_700_000_000 - age_s))
    return path


@contextmanager
def gallery(page: StudioPage, output: Path, models: Path) -> Iterator[StudioPage]:
    """The page of a server of its own, in the browser of another one.

    Args:
        page: Whose browser it is.
        output: The server's images.
        models: Its models; made where it is not there.
    """
    made = Made()
    made.painter.gate.set()
    if not models.exists():
        models_in(models)
    config = ServerConfig(models=models, checkpoint="none", output=output)
    app = create_app(config, [made])
    add_studio(app)
    with running(app) as url:
        until(lambda: not app.state.service.images.scanning)
        yield StudioPage(page.driver, f"{url}/studio/")
