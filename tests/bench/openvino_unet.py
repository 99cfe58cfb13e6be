"""A UNet as OpenVINO runs it on a processor, to stand beside ours; OpenVINO need not be installed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import Tensor, nn

__all__ = ["NAME", "OpenVinoUnet", "missing"]

NAME: Final = "OpenVINO"

_PRECISIONS: Final = {
    torch.float32: ("FP32", "f32"),
    torch.bfloat16: ("BF16", "bf16"),
    torch.float16: ("FP16", "f16"),
}
"""What OpenVINO says where it can compute in a type, and how it is asked to."""


def missing(dtype: torch.dtype, device: str) -> str:
    """Return why a UNet cannot be run with OpenVINO here; empty where it can.

    Args:
        dtype: Of what is to be computed.
        device: Where others compute.
    """
    if device != "cpu":
        return "it stands beside others on a processor only"
    if find_spec("openvino") is None:
        return "it is not installed"
    import openvino

    able, _ = _PRECISIONS[dtype]
    if able not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return f"it does not compute in {str(dtype).removeprefix('torch.')} on this processor"
    return ""


class OpenVinoUnet:
    """A UNet converted once, and compiled for each size of images.

    Args:
        unet: Of diffusers.
        dtype: What to compute in.
        width: Of the text.
    """

    def __init__(self, unet: nn.Module, dtype: torch.dtype, width: int) -> None:
        import openvino

        _, self._precision = _PRECISIONS[dtype]
        # It reads float32, whatever it computes in.
        exact = unet if dtype is torch.float32 else copy.deepcopy(unet).float()
        example = torch.zeros(2, 4, 32, 32), torch.tensor(500), torch.zeros(2, 77, width)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            self._model = openvino.convert_model(_Positional(exact), example_input=example)

    def call(self, x: Tensor, text: Tensor) -> Callable[[], Any]:
        """Compile it, and return what asks it once, with torch's number of threads.

        Args:
            x: ``[batch, 4, height, width]``.
            text: ``[batch, tokens, width]``.
        """
        import openvino

        given = [one.numpy() for one in (x.float(), torch.tensor(500), text.float())]
        self._model.reshape(
            {place: list(one.shape) for place, one in zip(self._model.inputs, given, strict=True)}
        )
        settings = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        compiled = openvino.Core().compile_model(self._model, "CPU", settings)
        request = compiled.create_infer_request()
        return lambda: request.infer(given)


class _Positional(nn.Module):
    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        return self.unet(x, timestep, text, return_dict=False)[0]
