"""What hypernetworks cost a call of the UNet: ``python -m tests.bench.bench_unet``.

Times calls of a UNet of Stable Diffusion 1's shape (random weights, batch 2, as one guided step has it),
taking turns: diffusers' own call, the same with hooks in WebUI's manner (every network at every attention,
text included, at every call), and ours. Prints median ratios to diffusers' call of the same round.

The floor. Text costs nothing once it is read, nor do linear networks once they are folded; without
networks ours saves the projections of the text, 3 to 7 % of a call at 256×256, and oneDNN's ordering of the
convolutions' weights, a fifth of it in bfloat16 (``promptengine.accel.onednn``). A ``[1, 2, 1]`` network with
an activation cannot avoid its own products in self-attention: 4 × width² multiply-adds for each token
and each of key and value, 12.7 thousand million per network and image at 256×256 (51 at 512×512). The
line "products alone" times just these matrix products in the same turns; the rest of the overhead is
the activation and one addition.

On two cores with bfloat16 instructions but no matrix units (AMD), ratios to diffusers, hooks in brackets:

========================  ==========  ==============  ==============  ==============  ============
bfloat16                  none        1 relu          3 relu          1 linear        1 text-only
========================  ==========  ==============  ==============  ==============  ============
256×256                   0.75        0.83 (1.12)     0.99 (1.38)     0.75 (1.13)     0.75 (1.05)
512×512                   0.89        0.97 (1.07)     1.11 (1.25)     0.91 (1.06)
float32, 256×256          0.47        0.52 (1.11)     0.64 (1.52)     0.47 (1.12)
========================  ==========  ==============  ==============  ==============  ============

These float32 figures are older than the convolutions with fewer products (``promptengine.accel.winograd``). With
them, on one core of an AMD EPYC with AVX2 only, a call at 256×256 in float32 without networks takes 4.8 s of
processor time, OpenVINO 2026.4 5.3 s and diffusers 7.6 s: the least of three to five rounds, while others worked on
the machine. In another session they took 5.2 and 5.5 s, with one relu network 6.1 s. On two cores of it, before, they took 3.39, 3.15 and 5.50 s.

A call has 171.6 thousand million multiply-adds there, 90.6 of them in convolutions that become 40.3, so that 121.3
are left: 3.3 s at the 37 thousand million a second that the largest products reach on that core. Those of narrow
matrices reach 20 to 35. The first call takes 8 s more for the weights of the convolutions.

The products alone run at 390 thousand million multiply-adds a second in bfloat16 and take 0.083 of diffusers' call
at 256×256; what one relu network adds is 0.080 (0.068 and 0.079 at 512×512). Three add 0.239 where their products
take 0.243. So nothing but the products is left to save.

Tried and left out, on two cores with and without bfloat16 instructions:

- One matrix product for the two first layers (keys' and values') of a network: no faster, since the products
  are large enough to keep both cores busy, and the halves of the result are no longer contiguous.
- Both layers as batched products of two: 3 % slower to 8 % faster by width, nothing on the whole.
- The second layer folded into the projection (``W x + (W B) relu(A x)``): as many products, no gain.
- Weights of linear layers in oneDNN's order too: as quick as in torch's.
- Channels-last in bfloat16: 4 %; oneDNN's order of weights brings its own.
- Feed-forward layers with gate and value as two products, the GELU or the multiplication as a post-op of oneDNN, the
  residual likewise: 0.93, 0.99 and 1.03 of a whole layer's time at widths 320, 640 and 1280; oneDNN's own GELU is
  slower than torch's. The multiplication in place alone: 0.95, 0.99 and 1.05.
- Attention as two batched products and a softmax in torch's place: 1.2 to 3.5 times its time; contiguous keys and
  values for it: the same.
- Linear layers' products by MKL on one thread: as quick as oneDNN's.
- Winograd's products one by one with oneDNN, its additions as post-ops: 1.05 to 1.3 of one batched product of MKL's.
  For fewer than 256 channels, or 32 squares of 2 × 2, the plain sum is quicker.

The VAE's convolutions too: decoding a 256×256 image took 9.0 s of processor time on one core of the latter machine, with
OpenVINO 10.7 s, and 11.2 s before.

What paid: reading text once, folding, activation in place, one fused multiply and addition, oneDNN,
and in float32 convolutions with fewer products whose memory is kept from one to the next (fresh memory took a third
of one).
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from promptengine.accel.memory import free_bytes
from promptengine.accel.onednn import linear, pack_conv_weights, use_onednn
from promptengine.networks.attention import attentions
from promptengine.networks.hypernetwork.inject import Injection, inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork, HypernetworkSettings
from tests.bench.floor import measured, quickest_product, wait
from tests.bench.openvino_unet import NAME, OpenVinoUnet, missing
from tests.bench.results import report
from tests.bench.timing import Rows, options
from tests.checkpoints.full_size import configured

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
TEXT_WIDTH = 768
WIDTHS = (320, 640, TEXT_WIDTH, 1280)
KINDS: Mapping[str, tuple[Sequence[int], str | None]] = {
    "relu": (WIDTHS, "relu"),
    "linear": (WIDTHS, None),
    "text-only": ((TEXT_WIDTH,), "relu"),
}
Stack = Sequence[tuple[Hypernetwork, float]]


def random_unet(dtype: torch.dtype, device: str) -> nn.Module:
    """A UNet of Stable Diffusion 1's shape whose numbers stay in range."""
    unet: nn.Module = configured("sd15").unet
    unet = unet.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    for name, tensor in unet.named_parameters():
        if tensor.ndim == 1:
            tensor.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            tensor.uniform_(-1, 1).mul_((3 / tensor[0].numel()) ** 0.5)
    return unet


def networks(kind: str, count: int, dtype: torch.dtype, device: str) -> Stack:
    """Networks of one kind, small enough to leave the UNet's numbers in range."""
    widths, activation = KINDS[kind]
    settings = HypernetworkSettings(activation=activation, activate_output=False)
    made: list[tuple[Hypernetwork, float]] = []
    for _ in range(count):
        network = Hypernetwork(widths, name=kind, settings=settings, device=device)
        for tensor in network.to(dtype).eval().requires_grad_(False).parameters():
            tensor.uniform_(-0.01, 0.01)
        made.append((network, 0.8))
    return made


class HookedLikeWebui:
    """Networks before every key and value projection, run anew at every call."""

    def __init__(self, unet: nn.Module, stack: Stack) -> None:
        self._handles = [
            attention.projections[part].register_forward_pre_hook(
                partial(
                    self._change, [(network.part(attention.width, part), m) for network, m in stack]
                )
            )
            for attention in attentions(unet)
            for part in ("key", "value")
        ]

    @staticmethod
    def _change(chain: Sequence[Any], _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (x,) = inputs
        for network, multiplier in chain:
            if network is not None:
                x = x + network.linear(x) * multiplier
        return (x,)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


class Calls:
    """Two UNets with the same weights: one for diffusers and hooks, one as the engine prepares it."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        self.dtype, self.device = dtype, device
        self.plain = random_unet(dtype, device)
        self.ours = copy.deepcopy(self.plain, {id(p): p for p in self.plain.parameters()})
        self.packed = pack_conv_weights(self.ours, room=free_bytes(torch.device(device)))
        self.floor = quickest_product(dtype, device)
        reason = missing(dtype, device)
        if reason:
            print(f"{NAME} is left out: {reason}")
        self.openvino = None if reason else OpenVinoUnet(self.plain, dtype, TEXT_WIDTH)

    def call(self, unet: nn.Module, x: Tensor, text: Tensor) -> None:
        """Ask once, and wait for the answer."""
        with torch.no_grad():
            unet(x, 500, text, return_dict=False)
        wait(self.device)

    @torch.no_grad()
    def products(self, stack: Stack, pixels: int) -> None:
        """The matrix products that a stack's self-attention networks consist of."""
        for attention in attentions(self.plain):
            if attention.reads_text:
                continue
            cells = (pixels // 8) // {320: 1, 640: 2}.get(attention.width, 4)
            tokens = torch.ones(2, cells**2, attention.width, dtype=self.dtype, device=self.device)
            for network, _ in stack:
                for part in ("key", "value"):
                    residual = network.part(attention.width, part)
                    x = tokens
                    for layer in residual.linear if residual else ():
                        if isinstance(layer, nn.Linear):
                            x = linear(x, layer.weight, layer.bias)
        wait(self.device)


def measure(calls: Calls, pixels: int, cases: Sequence[tuple[str, int]], rounds: int) -> Rows:
    """Time all cases of one size in turns, beside diffusers."""
    x = torch.randn(2, 4, pixels // 8, pixels // 8).to(calls.device, calls.dtype)
    text = torch.randn(2, 77, TEXT_WIDTH).to(calls.device, calls.dtype)
    actions: dict[str, Callable[[], object]] = {
        "diffusers": partial(calls.call, calls.plain, x, text)
    }
    if calls.openvino is not None:
        actions[NAME] = calls.openvino.call(x, text)

    def hooked(stack: Stack) -> None:
        with HookedLikeWebui(calls.plain, stack):
            calls.call(calls.plain, x, text)

    def ours(injection: Injection, stack: Stack, own_text: Tensor) -> None:
        injection.choose(stack)
        calls.call(calls.ours, x, own_text)

    quick = use_onednn(calls.ours, packed=calls.packed)
    with quick, inject_hypernetworks(calls.ours) as injection, torch.no_grad():
        for kind, count in cases:
            stack = networks(kind, count, calls.dtype, calls.device)
            name = f"{count} {kind}" if count else "none"
            if count:
                actions[f"{name}, hooks"] = partial(hooked, stack)
            # A text of its own for each case, since only the last networks' keys and values are kept.
            actions[f"{name}, ours"] = partial(ours, injection, stack, text.clone())
            if kind == "relu" and count:
                actions[f"{name}, products alone"] = partial(calls.products, stack, pixels)
        return measured(
            actions,
            "diffusers",
            rounds=rounds,
            floor=calls.floor,
            theirs=[name for name in actions if not name.endswith(", ours")],
            same_work={NAME: "diffusers"} if NAME in actions else None,
        )


def tables(given: argparse.Namespace) -> Iterator[tuple[str, Rows]]:
    """Measure what the options ask for, one type and size after another."""
    cases = [(kind, count) for count in given.counts if count for kind in given.kinds]
    cases = [("relu", 0)] * (0 in given.counts) + cases
    for dtype in given.dtypes:
        calls = Calls(DTYPES[dtype], given.device)
        for pixels in given.sizes:
            yield f"{dtype}, {pixels}×{pixels}", measure(calls, pixels, cases, given.rounds)


def main() -> None:
    """Measure and print."""
    parser = options(rounds=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 512])
    parser.add_argument("--dtypes", nargs="*", choices=DTYPES, default=["bfloat16", "float32"])
    parser.add_argument("--counts", type=int, nargs="*", default=[0, 1, 3, 5])
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    report("bench_unet", given, tables(given), device=given.device)


if __name__ == "__main__":
    main()
