"""What a server is started with, and what it lets its clients ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from promptengine.accel.offload_names import OffloadName
from promptengine.registry.registry import Kind

__all__ = ["Limits", "ServerConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that one request may ask for. What is above is refused with a status of 4xx.

    Attributes:
        body_bytes: Of a request as sent.
        send_s: Seconds for a request to come, its head and its body each.
        send_rate: For every so many bytes of a body, a second more.
        json_depth: Lists and objects inside each other.
        prompt_characters: Of each prompt.
        steps: Of each pass.
        pixels: Of each image made, after the high-resolution pass.
        batch_images: Of a batch.
        total_images: Of all batches together.
        image_pixels: Of an image sent, or of all that are sent to start from.
        images: Images sent.
        joined: Images of several jobs that may become one batch.
        training_images: Images sent to train with.
        schedule_characters: Text times segments of a prompt whose schedule is told, or computed before
            its turn.
    """

    body_bytes: int = 64 << 20
    send_s: float = 30.0
    send_rate: int = 16 << 10
    json_depth: int = 32
    prompt_characters: int = 20_000
    steps: int = 150
    pixels: int = 2048 * 2048
    batch_images: int = 16
    total_images: int = 100
    image_pixels: int = 4096 * 4096
    images: int = 16
    joined: int = 8
    training_images: int = 1000
    schedule_characters: int = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """A server's settings.

    Attributes:
        host: Address to listen at; only this machine reaches the default.
        port: 0 lets the system pick one.
        allowed_hosts: Names by which it is reached besides, ``NAME`` or ``NAME:PORT``.
        subpath: Where a proxy shows it, such as ``/sd``; empty for the proxy's root.
        tls_certfile: Its certificate, and those of who signed it; None for plain HTTP.
        tls_keyfile: The certificate's key, where it lies elsewhere.
        models: WebUI's models folder, or folders by kind, as
            :func:`promptengine.registry.registry.folders_below` names them.
        checkpoint: The one to begin with, a file or a name; None for the first there is.
        model_config: Configurations in diffusers' form for the checkpoint.
        vae: As for :meth:`promptengine.generation.engine.Engine.open`.
        vae_overrides: Likewise.
        devices: One worker for each.
        dtype: Of UNet and text model.
        compile: Whether regions of the UNet are compiled.
        offload: What leaves a device with little memory; as for :meth:`promptengine.generation.engine.Engine.open`.
        replicas: Engines in processes of their own; 0 for one on each device in this process.
        output: The only folder that finished images are written to.
        training: Where trainings find data sets, in ``data``, and leave what they write, in ``runs``.
        save: Whether images of our own API's jobs are written there unless a job says otherwise.
        styles: WebUI's ``styles.csv``, or None.
        settings: WebUI's settings to begin with, by its names, where they are not the usual ones. They hold for
            our own API's jobs too, unless these say otherwise.
        form_defaults: What fields of our own API's jobs are where they are left out, by their paths, such as
            ``hires.scale``, where that is not the usual.
        civitai: Whether clients may have it ask Civitai, for searches and downloads.
        users: Names and passwords; empty lets everybody in.
        cors_origins: Origins of pages that may use the server; ``*`` is any.
        cors_origins_regex: The same as a regular expression, or None.
        hide_paths: Tell clients paths below the models folder only.
        queue: Jobs that may wait.
        kept_jobs: Finished jobs whose results stay for those who ask later.
        kept_bytes: What these may take.
        grace_s: Seconds that running jobs get to finish when the server stops.
        limits: What clients may ask for.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    allowed_hosts: tuple[str, ...] = ()
    subpath: str = ""
    tls_certfile: Path | None = None
    tls_keyfile: Path | None = None
    models: Path | Mapping[Kind, list[Path]] = Path("models")
    checkpoint: str | None = None
    model_config: Path | None = None
    vae: str = "Automatic"
    vae_overrides: bool = True
    devices: tuple[str, ...] = ("auto",)
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    compile: bool = False
    offload: OffloadName = "auto"
    replicas: int = 0
    output: Path = Path("outputs")
    training: Path = Path("training")
    save: bool = True
    styles: Path | None = None
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    form_defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    civitai: bool = False
    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cors_origins: tuple[str, ...] = ()
    cors_origins_regex: str | None = None
    hide_paths: bool = False
    queue: int = 64
    kept_jobs: int = 256
    kept_bytes: int = 256 << 20
    grace_s: float = 30.0
    limits: Limits = field(default_factory=Limits)
