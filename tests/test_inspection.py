from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from promptengine.errors import NetworkFormatError
from promptengine.files.hashing import sha256
from promptengine.inspection import inspect_file
from promptengine.networks.hypernetwork.files import save_hypernetwork
from promptengine.networks.hypernetwork.module import HypernetworkSettings
from promptengine.networks.lora.kind import summarize_lora
from tests.networks.builders import random_network
from tests.text.textual_inversion.builders import as_json, vectors, write_text_image


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_hypernetwork_is_described_alike_in_both_formats(tmp_path: Path, suffix: str) -> None:
    shape = HypernetworkSettings(activation="swish", layer_norm=True)
    network = random_network([8, 4], shape).half()
    path = tmp_path / f"ink{suffix}"
    save_hypernetwork(network, path)
    report = inspect_file(path)
    assert report.kind == "hypernetwork"
    assert report.format == ("zip pickle" if suffix == ".pt" else "safetensors")
    assert report.size == path.stat().st_size
    assert report.digest == sha256(path)[:10]
    assert report.tensors == len(network.state_dict())
    assert report.parameters == sum(tensor.numel() for tensor in network.parameters())
    assert report.dtypes == {"float16": report.tensors}
    assert report.layers == tuple(
        f"{w}: Linear {w}→{2 * w}, Hardswish, LayerNorm, Linear {2 * w}→{w}, Hardswish, LayerNorm"
        for w in (8, 4)
    )
    assert report.metadata["name"] == "ink"
    assert report.metadata["step"] == "7"
    assert report.metadata["activation"] == "swish"
    assert report.metadata["sd_checkpoint_name"] == "a model"
    assert report.safe
    assert report.unsafe_globals == report.notes == ()
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


def test_another_name_inside_and_weights_that_are_not_finite_are_noted(tmp_path: Path) -> None:
    network = random_network([4], name="other")
    next(network.parameters()).data[0, 0] = float("nan")
    save_hypernetwork(network, tmp_path / "ink.pt")
    first, second = inspect_file(tmp_path / "ink.pt").notes
    assert "NaN or infinity" in first and "linear.0.weight" in first
    assert "'other'" in second


def test_a_network_whose_tensors_do_not_fit_is_reported_with_the_reason(tmp_path: Path) -> None:
    state = {"linear.0.weight": torch.zeros(3, 3)}
    torch.save({4: (state, state)}, tmp_path / "a.pt")
    report = inspect_file(tmp_path / "a.pt")
    assert report.kind == "hypernetwork"
    assert len(report.notes) == 1 and "cannot be used" in report.notes[0]


def test_other_kinds_are_told(tmp_path: Path) -> None:
    zero = torch.zeros(2)
    saved: dict[str, object] = {
        "checkpoint": {"state_dict": {"model.diffusion_model.x": zero}, "global_step": 5},
        "embedding": {"string_to_param": {"*": zero}, "name": "x", "step": 3},
        "optimizer state": {"optimizer_name": "AdamW", "hash": "0", "optimizer_state_dict": {}},
        "vae": {"encoder.conv_in.weight": zero, "decoder.conv_in.weight": zero},
        "lora": {"lora_unet_x.lora_down.weight": zero},
        "unknown": [1, zero],
    }
    for kind, payload in saved.items():
        torch.save(payload, tmp_path / kind)
        report = inspect_file(tmp_path / kind)
        assert (report.kind, report.safe) == (kind, True)
        assert report.parameters == 2 * report.tensors
    assert inspect_file(tmp_path / "checkpoint").metadata == {"global_step": "5"}
    save_file({"lora_te_x.alpha": zero}, tmp_path / "l", metadata={"ss_output_name": "x" * 1000})
    report = inspect_file(tmp_path / "l")
    assert (report.kind, report.format) == ("lora", "safetensors")
    assert len(report.metadata["ss_output_name"]) == 400


ROWS = vectors(3, 8)


@pytest.mark.parametrize(
    ("content", "metadata"),
    [
        ({"string_to_param": {"*": ROWS}, "name": "ink", "step": 4}, {"name": "ink", "step": "4"}),
        ({"string_to_param": nn.ParameterDict({"*": nn.Parameter(ROWS)})}, {}),
        ({"<any-word>": ROWS}, {}),
    ],
)
def test_embeddings_are_told_and_described(
    tmp_path: Path, content: object, metadata: dict[str, str]
) -> None:
    torch.save(content, tmp_path / "ink.pt")
    report = inspect_file(tmp_path / "ink.pt")
    assert (report.kind, report.vectors) == ("embedding", "3 of width 8")
    assert (report.tensors, report.parameters, report.dtypes) == (1, 24, {"float32": 1})
    assert report.metadata == metadata
    assert report.safe and report.notes == ()
    save_file({"clip_l": ROWS, "clip_g": vectors(3, 12)}, tmp_path / "xl")
    assert inspect_file(tmp_path / "xl").vectors == "3 of widths 8 and 12"


def test_an_embedding_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.zeros(76, 8)}, "name": "x"}, tmp_path / "a.pt")
    report = inspect_file(tmp_path / "a.pt")
    assert (report.kind, report.vectors) == ("embedding", "")
    (note,) = report.notes
    assert "cannot be used" in note and "76 vectors" in note
    torch.save({"string_to_param": {"*": ROWS}, "name": "other"}, tmp_path / "b.pt")
    assert (
        "'other', is not the file's; prompts use the file's"
        in inspect_file(tmp_path / "b.pt").notes[0]
    )


def test_images_with_and_without_an_embedding(tmp_path: Path) -> None:
    write_text_image(tmp_path / "conan-250.png", as_json(ROWS))
    report = inspect_file(tmp_path / "conan-250.png")
    assert (report.kind, report.format, report.vectors) == ("embedding", "image", "3 of width 8")
    assert (report.metadata, report.parameters) == ({"step": "250"}, 24)
    assert "prompts use it" in report.notes[0]
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    Image.new("RGB", (4, 4)).save(tmp_path / "a.webp")
    report = inspect_file(tmp_path / "a.webp")
    assert (report.kind, report.notes) == ("unknown", ("an image without an embedding in it",))
    (tmp_path / "b.png").write_bytes((tmp_path / "conan-250.png").read_bytes()[:60])
    assert "damaged image" in inspect_file(tmp_path / "b.png").notes[0]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_lora_is_told_by_part_kind_rank_and_model(tmp_path: Path, suffix: str) -> None:
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {
        f"{key}.lora_up.weight": torch.zeros(3, 2),
        "bundle_emb.w.emb_params": torch.zeros(1, 768),
    }
    tensors |= {f"{key}.lora_down.weight": torch.zeros(2, 768), "lora_unet_x.diff": torch.zeros(3)}
    path = tmp_path / f"a{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path, {"modelspec.architecture": "stable-diffusion-v1/lora"})
    report = inspect_file(path)
    assert report.kind == "lora"
    assert report.layers == ("UNet: 2 modules, LoRA of rank 2, full",)
    known = "Stable Diffusion 1" if suffix == ".pt" else "stable-diffusion-v1/lora"
    assert report.base_model == known
    assert report.notes == (
        "it brings embeddings along for 'w'",
        "1 of its modules are in no Stable Diffusion 1 model, the first 'diffusion_model_x'",
    )
    assert report.to_dict()["base_model"] == known
    of_header = summarize_lora(path)
    assert of_header.lines() == (report.layers if suffix == ".safetensors" else ())


def test_a_lora_tells_its_algorithms_and_what_it_lacks(tmp_path: Path) -> None:
    block = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to"
    tensors = {
        f"{block}_k.oft_blocks": torch.zeros(4, 8, 8),
        f"{block}_q.diff": torch.zeros(4, 4),
        f"{block}_q.dora_scale": torch.ones(1, 4),
        f"{block}_v.lora_up.weight": torch.zeros(4, 2),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    report = inspect_file(tmp_path / "a.safetensors")
    assert report.kind == "lora"
    assert report.layers == ("UNet: 2 modules, OFT, full (DoRA)",)
    (note,) = report.notes
    assert note.startswith("1 of its modules are changes of no known kind")
    assert note.endswith("attn1_to_v': LoRA needs lora_down.weight too")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch pwned",)


@pytest.mark.parametrize("legacy", [False, True])
def test_an_unsafe_file_is_reported_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    report = inspect_file(tmp_path / "a.pt")
    assert not report.safe
    assert report.unsafe_globals[0].endswith(".system")
    assert report.kind == "unknown"
    assert "refused" in report.notes[0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_damaged_and_missing_files_raise_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04 and no more")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(NetworkFormatError) as found:
            inspect_file(tmp_path / name)
        assert "\n" not in str(found.value)


def test_containers_within_themselves_and_repeated_numbers_are_not_safe(tmp_path: Path) -> None:
    within: list[object] = []
    within.extend([within] * 50)
    torch.save({"a": within}, tmp_path / "a.pt")
    torch.save({"b": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "b.pt")
    first, second = (inspect_file(tmp_path / name) for name in ("a.pt", "b.pt"))
    assert not first.safe and "puts a container into itself" in first.notes[0]
    assert not second.safe
    assert second.notes == ("its tensors claim more numbers than the file holds",)
    assert first.unsafe_globals == second.unsafe_globals == ()


def test_checkpoints_say_what_they_are(tmp_path: Path) -> None:
    from tests.checkpoints.original import tiny

    path = tmp_path / "m.safetensors"
    for family, channels, metadata, expected in (
        ("SD1", 4, {}, ("SD1", "epsilon")),
        ("SD1", 9, {}, ("SD1 for inpainting", "epsilon")),
        ("SD2", 4, {}, ("SD2", "epsilon or v: found out when it is opened")),
        ("SD2", 4, {"modelspec.prediction_type": "v"}, ("SD2", "v")),
        ("SD2", 9, {}, ("SD2 for inpainting", "epsilon")),
        ("SDXL refiner", 4, {}, ("SDXL refiner", "epsilon")),
        ("SDXL", 4, {}, ("SDXL", "epsilon")),
    ):
        weights = tiny(family, channels=channels).weights()
        save_file(weights, path, metadata=metadata or None)
        report = inspect_file(path)
        assert (report.kind, report.family, report.prediction) == ("checkpoint", *expected)
        assert report.vae == "its own"
    torch.save({"state_dict": weights}, tmp_path / "m.ckpt")
    assert inspect_file(tmp_path / "m.ckpt").family == "SDXL"
    save_file({n: t for n, t in weights.items() if not n.startswith("first_stage")}, path)
    assert inspect_file(path).vae.startswith("none")
    (tmp_path / "m.vae.pt").touch()
    assert inspect_file(path).vae == "m.vae.pt beside it"
    (tmp_path / "m.yaml").write_text("model: [")
    assert any("m.yaml" in note for note in inspect_file(path).notes)


def test_checkpoints_of_other_families_are_named(tmp_path: Path) -> None:
    for name, called in (
        ("model.diffusion_model.joint_blocks.0.x", "Stable Diffusion 3"),
        ("double_blocks.0.x", "Flux"),
    ):
        tensors = {name: torch.zeros(1), f"{name}.y": torch.zeros(1)}
        save_file(tensors, tmp_path / "m.safetensors")
        report = inspect_file(tmp_path / "m.safetensors")
        assert any(called in note for note in report.notes)
        assert (report.family, report.prediction, report.vae) == ("", "", "")


def test_tensors_of_many_dimensions_are_looked_at(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.full((1,) * 70, float("nan"))}, tmp_path / "many.safetensors")
    assert any("NaN" in note for note in inspect_file(tmp_path / "many.safetensors").notes)
