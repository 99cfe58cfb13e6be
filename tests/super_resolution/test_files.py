"""Files of upscalers: what they are is told from their weights, and what cannot be used is refused."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from promptengine import NetworkFormatError, UnsupportedNetworkError, inspect_file
from promptengine.super_resolution.files import ARCHITECTURES, load_upscaler
from tests.super_resolution.builders import compact, rrdb, swinir, write

IMAGE = torch.rand(1, 3, 17, 21, generator=torch.Generator().manual_seed(1))


def enlarged(path: Path) -> Tensor:
    with torch.no_grad():
        return load_upscaler(path).run(IMAGE)


def test_three_layouts_of_esrgan_are_one_network(tmp_path: Path) -> None:
    made = [
        enlarged(write(tmp_path / f"{layout}.pth", rrdb(layout=layout, blocks=2), wrapper))
        for layout, wrapper in (("old", None), ("middle", None), ("new", "params_ema"))
    ]
    assert made[0].shape == (1, 3, 68, 84)
    assert float(made[0].std()) > 0
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])


@pytest.mark.parametrize("wrapper", [None, "params", "params_ema", "params-ema", "state_dict"])
def test_what_programs_lay_around_weights_is_taken_off(tmp_path: Path, wrapper: str | None) -> None:
    bare = rrdb()
    expected = enlarged(write(tmp_path / "bare.pth", bare))
    parallel = {f"module.{name}": tensor for name, tensor in bare.items()}
    assert torch.equal(enlarged(write(tmp_path / "x.pth", parallel, wrapper)), expected)


def test_smoothed_weights_go_before_others(tmp_path: Path) -> None:
    smooth = rrdb()
    torch.save(
        {"params": {k: t * 2 for k, t in smooth.items()}, "params_ema": smooth}, tmp_path / "x.pth"
    )
    assert torch.equal(
        enlarged(tmp_path / "x.pth"), enlarged(write(tmp_path / "y.pth", smooth, None))
    )


def test_safetensors_and_half_precision_are_read(tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in compact().items()}
    save_file(half, tmp_path / "x.safetensors")
    network = load_upscaler(tmp_path / "x.safetensors")
    assert {weight.dtype for weight in network.module.parameters()} == {torch.float32}
    assert network.run(IMAGE).shape == (1, 3, 68, 84)


@pytest.mark.parametrize(
    ("weights", "name", "scale"),
    [
        (rrdb(doublings=0), "ESRGAN", 1),
        (rrdb(doublings=1, layout="old"), "ESRGAN", 2),
        (rrdb(doublings=3, layout="old"), "ESRGAN", 8),
        (rrdb(unfolded=2), "ESRGAN", 2),
        (rrdb(unfolded=4), "ESRGAN", 1),
        (compact(scale=1), "Compact", 1),
        (compact(scale=3, convolutions=5), "Compact", 3),
        (swinir(), "SwinIR", 4),
        (swinir(scale=2, qkv_bias=False), "SwinIR", 2),
        (swinir(upsampler="pixelshuffle", scale=3), "SwinIR", 3),
        (swinir(upsampler="pixelshuffle", scale=8, narrow=True), "SwinIR", 8),
        (swinir(upsampler="pixelshuffledirect", scale=2, patch_norm=False), "SwinIR", 2),
        (swinir(upsampler="none", scale=1, window=7), "SwinIR", 1),
    ],
)
def test_all_sizes_are_told_from_the_weights(
    tmp_path: Path, weights: dict[str, Tensor], name: str, scale: int
) -> None:
    path = write(tmp_path / "x.pth", weights)
    network = load_upscaler(path)
    assert (network.architecture.name, network.scale) == (name, scale)
    for height, width in ((17, 21), (1, 1), (5, 40)):
        with torch.no_grad():
            made = network.run(torch.rand(1, 3, height, width))
        assert made.shape == (1, 3, height * scale, width * scale)
        assert 0 <= float(made.min()) <= float(made.max()) <= 1
    report = inspect_file(path)
    assert (report.kind, report.family) == ("upscaler", f"{name}, {scale} times as large")
    assert not report.notes


def test_swinir_without_the_tables_that_follow_from_sizes(tmp_path: Path) -> None:
    weights = swinir()
    tables = {
        "layers.0.residual_group.blocks.0.attn.relative_position_index": torch.zeros(16, 16).long(),
        "layers.0.residual_group.blocks.1.attn_mask": torch.zeros(4, 16, 16),
    }
    with_tables = write(tmp_path / "with.pth", {**weights, **tables})
    assert torch.equal(enlarged(with_tables), enlarged(write(tmp_path / "without.pth", weights)))


def test_random_numbers_are_counted_as_torch_draws_them(tmp_path: Path) -> None:
    network = load_upscaler(write(tmp_path / "x.pth", rrdb()))
    torch.manual_seed(5)
    for layer in network.module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.Conv2d(layer.in_channels, layer.out_channels, 3)
    after = torch.rand(3)
    torch.manual_seed(5)
    torch.rand(network.init_draws)
    assert torch.equal(torch.rand(3), after)


def changed(weights: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Any]:
    found = {**weights, **{name.replace("__", "."): t for name, t in changes.items()}}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (changed(rrdb(), conv_hr__weight=None), "it lacks 'conv_hr.weight'"),
        (changed(rrdb(), conv_odd__weight=torch.ones(1)), "holds 'conv_odd.weight', which no"),
        (changed(rrdb(), conv_hr__bias=torch.ones(9)), r"'conv_hr.bias' has the shape \[9\] where"),
        (changed(rrdb(), conv_hr__bias=torch.ones(4).int()), "holds no fractions but torch.int32"),
        (
            changed(rrdb(), conv_first__weight=torch.ones(4, 5, 3, 3)),
            "5 channels, which are no RGB",
        ),
        (changed(rrdb(), conv_first__weight=torch.ones(0, 3, 3, 3)), "has the shape"),
        (changed(rrdb(), conv_first__weight=torch.ones(2000, 3, 3, 3)), "2008 channels; the most"),
        (
            changed(rrdb(), **{f"conv_up{n}.weight": torch.ones(1) for n in range(3, 9)}),
            "8 doublings",
        ),
        (
            changed(rrdb(), **{f"body.{n}.x": torch.ones(1) for n in range(300)}),
            "300 blocks; the most",
        ),
        (changed(compact(), body__1__weight=None), "not convolutions and PReLUs in turn"),
        (changed(compact(), body__1000000000000__weight=torch.ones(1)), "1000000000000 layers"),
        (changed(compact(), **{f"body.{'9' * 5000}.weight": torch.ones(1)}), "upscaler"),
        (changed(compact(), body__0__weight=torch.ones(4, 1, 3, 3)), "reads 1 channels"),
        (changed(swinir(), absolute_pos_embed=torch.ones(1, 9, 8)), "one size of image alone"),
        (changed(swinir(), **{"layers.7.residual_group.blocks.0.x": torch.ones(1)}), "from 0 on"),
        (
            changed(
                swinir(),
                **{
                    "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.ones(
                        399**2, 2
                    )
                },
            ),
            "200 pixels to a window",
        ),
        (
            changed(
                swinir(),
                **{
                    "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.ones(
                        49, 3
                    )
                },
            ),
            "do not divide into",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_quickly(
    tmp_path: Path, weights: dict[str, Tensor], reason: str
) -> None:
    path = write(tmp_path / "x.pth", weights)
    begun = time.monotonic()
    with pytest.raises(NetworkFormatError, match=reason) as refused:
        load_upscaler(path)
    assert time.monotonic() - begun < 5
    assert str(path) in str(refused.value) and len(str(refused.value)) < 1000
    if "fractions" not in reason:
        assert any("cannot be used" in note for note in inspect_file(path).notes)


def test_other_networks_are_refused_by_what_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"some.weight": torch.ones(3)})
    with pytest.raises(UnsupportedNetworkError, match="none of ESRGAN, Compact, SwinIR"):
        load_upscaler(path)
    assert inspect_file(path).kind != "upscaler"


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/never",)


def nested(depth: int) -> object:
    found: object = {}
    for _ in range(depth):
        found = {"params": found}
    return found


@pytest.mark.parametrize(
    "content", [{"params_ema": Hostile()}, nested(5000), [1, 2], {"params": 5}, {}]
)
def test_hostile_files_run_nothing(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pth"
    try:
        torch.save(content, path)
    except RecursionError:
        # Python's own writer cannot nest so deep.
        path.write_bytes(b"\x80\x02" + b"}" * 5000 + b".")
    with pytest.raises(NetworkFormatError):
        load_upscaler(path)


def test_damaged_and_empty_files_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.pth", rrdb()).read_bytes()
    for content in (b"", whole[: len(whole) // 2], pickle.dumps({}), b"no network at all"):
        (tmp_path / "y.pth").write_bytes(content)
        with pytest.raises(NetworkFormatError, match=r"y\.pth"):
            load_upscaler(tmp_path / "y.pth")
    with pytest.raises(NetworkFormatError, match="no such file"):
        load_upscaler(tmp_path / "none.pth")


def test_values_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    weights = {name: tensor * float("nan") for name, tensor in rrdb().items()}
    with pytest.raises(NetworkFormatError, match="values that are no numbers"):
        enlarged(write(tmp_path / "x.pth", weights))


def test_architectures_do_not_take_each_others_files() -> None:
    for number, weights in enumerate((rrdb(), compact(), swinir())):
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        assert [one.detect(shapes) for one in ARCHITECTURES] == [n == number for n in range(3)]
