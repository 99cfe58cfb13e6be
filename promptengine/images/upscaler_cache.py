"""Upscalers by name, those in files included, with the settings of a request."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from PIL.Image import Image

from promptengine.errors import RequestError
from promptengine.files.lru import SizedLRU
from promptengine.images.upscalers import (
    UPSCALERS,
    PixelUpscaler,
    Upscaler,
    is_known_upscaler,
    latent_upscalers,
    pixel_upscalers,
    unknown_upscaler,
)
from promptengine.registry.registry import Registry, RegistryEntry
from promptengine.request.options import Options
from promptengine.super_resolution.files import UpscalerNetwork, load_upscaler
from promptengine.super_resolution.tiles import OnTile, Tiling, enlarge

__all__ = ["NetworkUpscaler", "UpscalerCache"]

_NETWORK_BYTES: Final = 1 << 30
_BLENDED_FOLDER: Final = "SwinIR"
_PLAIN_FOLDERS: Final = ("ESRGAN", "RealESRGAN")


@dataclass(frozen=True, slots=True)
class NetworkUpscaler(PixelUpscaler):
    """A network that enlarges images.

    Attributes:
        init_draws: How many random numbers WebUI draws when it loads the network.
        kept: Whether WebUI keeps it loaded from one image to the next.
    """

    init_draws: int
    kept: bool


class UpscalerCache:
    """Finds upscalers by name, and keeps networks that were used of late.

    Args:
        registry: Where files are looked up.
        device: Where networks are to run.
        room: Bytes that networks may take together; the longest unused goes first.
    """

    def __init__(
        self,
        registry: Registry,
        device: torch.device | str = "cpu",
        *,
        room: int = _NETWORK_BYTES,
    ) -> None:
        self._registry, self._device = registry, torch.device(device)
        self._networks: SizedLRU[tuple[Path, int, int], UpscalerNetwork] = SizedLRU(
            room, lambda network: network.nbytes
        )
        self._on_tile: OnTile = _ignore

    @contextmanager
    def watching(self, on_tile: OnTile) -> Generator[None]:
        """Have a function called after every tile within a ``with`` block, beside those of outer blocks.

        Args:
            on_tile: Gets the number of tiles done and of all of this run; what it raises ends the run.
        """
        outer = self._on_tile

        def both(done: int, total: int) -> None:
            outer(done, total)
            on_tile(done, total)

        self._on_tile = both
        try:
            yield
        finally:
            self._on_tile = outer

    def find(self, name: str, options: Options, *, field: str = "upscaler") -> Upscaler:
        """Look an upscaler up, and load its network if it has one.

        Args:
            name: Of an upscaler of this package or a plugin, or the stem of a file; case counts.
            options: How an image is cut into tiles.
            field: Of the request, to be named in the error.

        Raises:
            RequestError: No such upscaler, or tiles that do not go forward.
            NetworkFormatError: Its file cannot be used.
        """
        if name in UPSCALERS:
            return UPSCALERS[name]
        entry = self._registry.find("upscaler", name)
        if entry is None:
            known = [*latent_upscalers(), *pixel_upscalers(self._registry)]
            raise unknown_upscaler(name, known, field)
        return self._of_file(entry, options)

    def find_pixel(self, name: str, options: Options, *, field: str = "upscaler") -> PixelUpscaler:
        """Look an upscaler of images up, as :meth:`find` does; one of latents is none."""
        if is_known_upscaler(name, self._registry):
            found = self.find(name, options, field=field)
            if isinstance(found, PixelUpscaler):
                return found
        raise unknown_upscaler(name, pixel_upscalers(self._registry), field)

    def _of_file(self, entry: RegistryEntry, options: Options) -> NetworkUpscaler:
        key = (entry.path, entry.mtime_ns, entry.size)
        network = self._networks.get(key, lambda: load_upscaler(entry.path, self._device))
        tiling = _tiling(network, entry, options)

        def run(image: Image, _size: tuple[int, int]) -> Image:
            # Who watches is looked up when it runs: an upscaler is found before its run begins.
            return enlarge(network, image, tiling, self._on_tile)

        return NetworkUpscaler(entry.name, run, network.init_draws, tiling.blended)


def _ignore(_done: int, _total: int) -> None:
    pass


def _tiling(network: UpscalerNetwork, entry: RegistryEntry, options: Options) -> Tiling:
    """Return how WebUI cuts images for a network: by the folder that it lies in, else by what it is."""
    folder = entry.path.parents[entry.relative.count("/")].name
    if folder in (_BLENDED_FOLDER, *_PLAIN_FOLDERS):
        blended = folder == _BLENDED_FOLDER
    else:
        blended = network.architecture.blended
    own = "swinir" if blended else "upscaler"
    size: int = getattr(options, f"{own}_tile")
    overlap: int = getattr(options, f"{own}_tile_overlap")
    if 0 < size <= overlap:
        name, other = (Options.webui_name(f"{own}_tile{end}") for end in ("_overlap", ""))
        message = f"option {name} is {overlap}; it must be less than {other}, which is {size}"
        raise RequestError(message, field=name)
    return Tiling(size, overlap, blended)
