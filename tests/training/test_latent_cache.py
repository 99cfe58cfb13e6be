from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promptengine import Engine, RequestError, TrainingError
from promptengine.training.config import TrainingConfig, TrainingFiles
from promptengine.training.dataset import batches, find_images, fingerprint, read_training_image
from promptengine.training.latent_cache import TrainingExamples, prepare_examples
from tests.training.builders import config, make_images


def prepared(engine: Engine, asked: TrainingConfig) -> TrainingExamples:
    return prepare_examples(engine.checkpoint, asked, find_images(asked), name="ink")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_are_found_in_order_with_captions(tmp_path: Path) -> None:
    make_images(tmp_path)
    (tmp_path / "notes.md").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    found = find_images(config(tmp_path, data=tmp_path))
    assert [p.caption for p in found] == [
        "red cat, snow",
        "blue dog, night",
        "a green fox (in rain:1.2)",
    ]
    before = fingerprint(found)
    (tmp_path / "03-fox.txt").write_text("another")
    assert fingerprint(find_images(config(tmp_path, data=tmp_path))) != before


def test_what_is_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such folder of images"):
        find_images(config(tmp_path, data=tmp_path / "nowhere"))
    with pytest.raises(TrainingError, match=r"holds no images \(.bmp, .jpeg"):
        (tmp_path / "empty").mkdir()
        find_images(config(tmp_path, data=tmp_path / "empty"))
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(TrainingError, match=r"a\.png: not a readable image"):
        read_training_image(tmp_path / "a.png", (64, 64), alpha=False)
    Image.new("RGB", (100, 63)).save(tmp_path / "b.png")
    with pytest.raises(TrainingError, match=r"b\.png: 100×63 is too small"):
        read_training_image(tmp_path / "b.png", None, alpha=False)
    Image.new("RGBA", (64, 64)).save(tmp_path / "c.png")
    with pytest.raises(TrainingError, match=r"c\.png: nothing of it is visible"):
        read_training_image(tmp_path / "c.png", None, alpha=True)


def test_images_are_scaled_and_cropped_or_cut_to_the_grid(tmp_path: Path) -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 50:150] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    square, _ = read_training_image(tmp_path / "a.png", (64, 64), alpha=False)
    assert square.shape == (3, 64, 64)
    assert square[:, :, 2:-2].min() > 0.9, "the middle, with proportions kept"
    cut, weights = read_training_image(tmp_path / "a.png", None, alpha=True)
    assert cut.shape == (3, 96, 200)
    assert (cut.min(), cut.max()) == (-1, 1)
    assert weights is not None and torch.equal(weights, torch.ones(12, 25))


def test_alpha_weighs_and_leaves_colors_alone(tmp_path: Path, tiny_engine: Engine) -> None:
    pixels = np.full((64, 64, 4), 200, np.uint8)
    pixels[:, :, 3] = 0
    pixels[:, :32, 3] = 255
    folder = tmp_path / "data"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a.png")
    color, weights = read_training_image(folder / "a.png", (64, 64), alpha=True)
    assert weights is not None
    assert torch.equal(weights[:, :4], torch.ones(8, 4))
    assert torch.equal(weights[:, 4:], torch.zeros(8, 4))
    assert color.unique().tolist() == pytest.approx([200 / 127.5 - 1])
    material = prepared(tiny_engine, config(tmp_path, alpha_weights=True))
    inputs = material.inputs([0], seeded(0))
    assert inputs.weights[0, 0, 0].tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    plain = prepared(tiny_engine, config(tmp_path)).inputs([0], seeded(0))
    assert torch.equal(plain.weights, torch.ones(1, 1, 8, 8))


def test_latents_are_the_mean_one_draw_or_a_draw_per_use(
    tmp_path: Path, tiny_engine: Engine
) -> None:
    found: dict[str, list[torch.Tensor]] = {}
    for sampling in ("once", "deterministic", "random"):
        material = prepared(tiny_engine, config(tmp_path, latent_sampling=sampling))
        found[sampling] = [material.inputs([0], seeded(seed)).latents for seed in (1, 2, 1)]
    assert torch.equal(found["once"][0], found["once"][1])
    assert torch.equal(found["deterministic"][0], found["deterministic"][1])
    assert not torch.equal(found["once"][0], found["deterministic"][0])
    assert not torch.equal(found["random"][0], found["random"][1])
    assert torch.equal(found["random"][0], found["random"][2])
    again = prepared(tiny_engine, config(tmp_path)).inputs([0], seeded(1)).latents
    other = prepared(tiny_engine, config(tmp_path, seed=2)).inputs([0], seeded(1)).latents
    assert torch.equal(found["once"][0], again)
    assert not torch.equal(again, other)


def test_models_idle_once_all_is_worked_out(
    tmp_path: Path, tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = prepared(tiny_engine, config(tmp_path))
    varied = prepared(tiny_engine, config(tmp_path, shuffle_tags=True, tag_dropout=0.3))
    calls: list[int] = []
    encoder = tiny_engine.checkpoint.text_encoder
    handle = encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(tiny_engine.checkpoint.vae, "encode", None)
    same = [plain.inputs([0, 2], seeded(seed)).context for seed in (1, 2)]
    assert not calls
    other = [varied.inputs([0, 2], seeded(seed)).context for seed in (1, 2, 1)]
    handle.remove()
    assert len(calls) == 6
    assert torch.equal(same[0], same[1])
    assert same[0].shape == (2, 77, 48)
    assert not torch.equal(other[0], other[1])
    assert torch.equal(other[0], other[2])


def test_prompts_of_different_length_share_a_batch(tmp_path: Path, tiny_engine: Engine) -> None:
    data = make_images(tmp_path / "data")
    (data / "03-fox.txt").write_text(" ".join(["word"] * 100))
    context = prepared(tiny_engine, config(tmp_path)).inputs([0, 2], seeded(0)).context
    assert context.shape == (2, 154, 48)
    assert torch.equal(context[0, 76], context[0, 100])


def test_emphasis_and_clip_skip_count_and_tags_and_comments_are_text(
    tmp_path: Path, tiny_engine: Engine
) -> None:
    data = make_images(tmp_path / "data")
    (tmp_path / "template.txt").write_text("[filewords]")
    contexts: list[torch.Tensor] = []
    for caption in ("a fox", "a (fox:1.5)", "a fox # red", "a fox <hypernet:ink:1>"):
        (data / "03-fox.txt").write_text(caption)
        asked = config(tmp_path, template=tmp_path / "template.txt")
        contexts.append(prepared(tiny_engine, asked).inputs([2], seeded(0)).context)
    asked = replace(asked, clip_skip=2)
    contexts.append(prepared(tiny_engine, asked).inputs([2], seeded(0)).context)
    for index, one in enumerate(contexts):
        assert not any(torch.equal(one, other) for other in contexts[:index])


def test_images_of_one_size_share_a_bucket(tmp_path: Path, tiny_engine: Engine) -> None:
    data = make_images(tmp_path / "data")
    Image.new("RGB", (64, 100)).save(data / "04-wide.png")
    kept = prepared(tiny_engine, config(tmp_path, resize=False, width=None, height=None))
    assert sorted(map(sorted, kept.buckets)) == [[0, 1, 2], [3]]
    assert kept.inputs([3], seeded(0)).latents.shape == (1, 4, 12, 8)
    assert prepared(tiny_engine, config(tmp_path)).buckets == ((0, 1, 2, 3),)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    batch_size=st.integers(1, 4),
    seed=st.integers(0, 99),
    start=st.integers(0, 40),
)
def test_batches_hold_every_image_once_an_epoch_and_can_begin_anywhere(
    sizes: list[int], batch_size: int, seed: int, start: int
) -> None:
    buckets: list[list[int]] = []
    for size in sizes:
        taken = sum(map(len, buckets))
        buckets.append(list(range(taken, taken + size)))
    in_epoch = sum(-(-size // batch_size) for size in sizes)
    order = list(islice(batches(buckets, batch_size, seed=seed, start=0), start + 2 * in_epoch))
    assert [batch.index for batch in order] == list(range(len(order)))
    assert [batch.epoch for batch in order] == [i // in_epoch for i in range(len(order))]
    first = [index for batch in order[:in_epoch] for index in batch.indices]
    assert sorted(first) == list(range(sum(sizes)))
    for batch in order:
        assert any({*batch.indices} <= {*bucket} for bucket in buckets)
        assert 1 <= len(batch.indices) <= batch_size
    later = batches(buckets, batch_size, seed=seed, start=start)
    assert list(islice(later, 2 * in_epoch)) == order[start:]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0; it must be 1 to"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"accumulation": 0}, "accumulation is 0"),
        ({"seed": -2}, "seed is -2"),
        ({"width": 60}, "width is 60; it must be 64 to 2048"),
        ({"height": 100}, "height is 100, no multiple of 8; try 96 or 104"),
        ({"tag_dropout": 1.0}, "tag_dropout is 1.0"),
        ({"clipping": "some"}, "clipping 'some' is none of none, value, norm"),
        ({"latent_sampling": "twice"}, "latent_sampling 'twice' is none of"),
        ({"word_pattern": "("}, "word_pattern '(' is no regular expression: missing )"),
        ({"learning_rate": "x"}, "learning rate 'x', column 1"),
        ({"learning_rate": "1e-5:3"}, "learning_rate ends at step 3 and the training at 6"),
        ({"clip_at": "1:3"}, "clip_at ends at step 3"),
    ],
)
def test_settings_out_of_range_are_named(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(RequestError) as caught:
        config(tmp_path, **changes)
    assert said in str(caught.value)


def test_shapes_that_only_training_refuses(tmp_path: Path) -> None:
    network = config(tmp_path).network
    with pytest.raises(RequestError, match="begin and end with 0"):
        config(tmp_path, network=replace(network, dropout_structure=(0, 0, 0.1)))
    with pytest.raises(RequestError, match="weight_init 'Zero' is none of Normal, Kaiming"):
        config(tmp_path, network=replace(network, weight_init="Zero"))


@pytest.mark.parametrize("name", ["a/b", "a:b", "a>b", "None", " ink", "..", "ink."])
def test_a_name_must_be_one_that_tags_and_files_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="no name for a network"):
        TrainingFiles(output=tmp_path / "ink.pt", folder=tmp_path, name=name)
    with pytest.raises(RequestError, match=r"output suffix '.ckpt' is none of .pt, .safetensors"):
        TrainingFiles(output=tmp_path / "ink.ckpt", folder=tmp_path)


def test_models_that_training_does_not_know_are_refused(
    tmp_path: Path, tiny_engine: Engine
) -> None:
    asked = config(tmp_path)
    sdxl = replace(tiny_engine.checkpoint, family="SDXL")
    with pytest.raises(TrainingError, match="SDXL"):
        prepare_examples(sdxl, asked, find_images(asked), name="ink")
