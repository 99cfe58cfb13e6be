"""ComfyUI's modules as far as the nodes import them, and its folders of files."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.integrations.comfyui.stand_in import (
    KSAMPLER,
    CFGGuider,
    Upsample,
    WrappersMP,
    calc_cond_batch,
    load_lora_for_models,
)


def save_image_path(
    prefix: str, output: str, width: int = 0, height: int = 0
) -> tuple[str, str, int, str, str]:
    """Folder, name, next number, subfolder and prefix of files to be saved; none outside the folder."""
    prefix = prefix.replace("%width%", str(width)).replace("%height%", str(height))
    path = os.path.normpath(prefix)
    subfolder, name = os.path.dirname(path), os.path.basename(path)  # noqa: PTH119, PTH120
    folder = Path(output) / subfolder
    if os.path.commonpath((output, os.path.abspath(folder))) != output:  # noqa: PTH100
        raise Exception("Saving image outside the output folder is not allowed.")
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [
        int(digits)
        for file in folder.iterdir()
        if file.name.startswith(f"{name}_")
        and (digits := file.name[len(name) + 1 :].split("_")[0]).isdecimal()
    ]
    return str(folder), name, max(numbers, default=0) + 1, subfolder, prefix


def standing_in(monkeypatch: pytest.MonkeyPatch, folders: Mapping[str, Path]) -> None:
    """Make the modules importable that the nodes import; ``folders`` by ComfyUI's names of them."""

    def names(kind: str) -> list[str]:
        return sorted(path.name for path in folders[kind].iterdir()) if kind in folders else []

    def full_path(kind: str, name: str) -> str | None:
        return str(folders[kind] / name) if name in names(kind) else None

    def paths(kind: str) -> list[str]:
        return [str(folders[kind])] if kind in folders else []

    content: dict[str, dict[str, Any]] = {
        "comfy": {},
        "comfy.patcher_extension": {"WrappersMP": WrappersMP},
        "comfy.cli_args": {"args": SimpleNamespace(disable_metadata=False)},
        "comfy.ldm.modules.diffusionmodules.openaimodel": {"Upsample": Upsample},
        "comfy.samplers": {
            "CFGGuider": CFGGuider,
            "KSAMPLER": KSAMPLER,
            "calc_cond_batch": calc_cond_batch,
        },
        "comfy.sd": {"load_lora_for_models": load_lora_for_models},
        "folder_paths": {
            "get_filename_list": names,
            "get_full_path": full_path,
            "get_folder_paths": paths,
            "get_output_directory": lambda: str(folders["output"]),
            "get_save_image_path": save_image_path,
        },
    }
    for name, members in content.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
