"""What a benchmark runs on: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

__all__ = ["Machine"]

INSTRUCTIONS: Final = {
    "avx2": "AVX2",
    "avx512_f": "AVX-512",
    "avx512_bf16": "AVX-512 bf16",
    "avx512_fp16": "AVX-512 fp16",
    "amx_bf16": "AMX bf16",
    "amx_fp16": "AMX fp16",
    "neon": "NEON",
    "bf16": "bf16",
    "sve": "SVE",
    "sme": "SME",
}
"""Instruction sets that matrix products gain by, as torch calls them and as people do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, as far as it decides how quick models are.

    Attributes:
        processor: As it calls itself.
        cores: That the system has.
        threads: That torch computes with.
        instructions: Those of :data:`INSTRUCTIONS` that the processor has.
        torch: Its version.
        gpu: Name of the GPU that is used; empty where none is.
    """

    processor: str
    cores: int
    threads: int
    instructions: tuple[str, ...]
    torch: str
    gpu: str

    @classmethod
    def here(cls, device: str = "cpu") -> Machine:
        """Describe this machine.

        Args:
            device: What models run on.
        """
        # Older versions of torch cannot tell.
        tell = getattr(torch.cpu, "get_capabilities", dict)
        able: Mapping[str, Any] = tell()
        return cls(
            processor=str(able.get("cpu_name") or platform.processor() or platform.machine()),
            cores=os.cpu_count() or 1,
            threads=torch.get_num_threads(),
            instructions=tuple(name for key, name in INSTRUCTIONS.items() if able.get(key)),
            torch=torch.__version__,
            gpu=torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
        )

    def __str__(self) -> str:
        """Write it in one line."""
        parts = (
            self.gpu,
            self.processor,
            f"{self.cores} cores, {self.threads} threads",
            " ".join(self.instructions),
            f"torch {self.torch}",
        )
        return "; ".join(filter(None, parts))
