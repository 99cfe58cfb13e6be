"""Random numbers: whose they are, and what they do not depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptengine.sampling.brownian import BrownianTree, brownian_noise
from promptengine.sampling.noise import ImageNoise, Seeding, slerp, stream

SHAPE = (4, 6, 5)
CPU = torch.device("cpu")
SOURCES = pytest.mark.parametrize("source", ["cpu", "nv", "gpu"])


@SOURCES
def test_images_have_noise_of_their_own(source: Any) -> None:
    batch = ImageNoise.seeded([5, 6], SHAPE, source=source)
    draws = [batch.draw() for _ in range(3)]
    alone = ImageNoise.seeded([6], SHAPE, source=source)
    for draw in draws:
        assert torch.equal(draw[1:], alone.draw())
    assert not torch.equal(draws[0], draws[1])


def test_a_gpus_numbers_are_nvidias() -> None:
    assert torch.equal(stream(7, "gpu")(SHAPE), stream(7, "nv")(SHAPE))
    assert not torch.equal(stream(7, "cpu")(SHAPE), stream(7, "nv")(SHAPE))


@SOURCES
def test_noise_is_standard_normal(source: Any) -> None:
    numbers = stream(1, source)((200_000,))
    assert abs(float(numbers.mean())) < 0.01
    assert abs(float(numbers.std()) - 1) < 0.01
    assert float(numbers.abs().max()) < 7


@given(st.integers(0, 2**64 - 1))
def test_any_seed_draws(seed: int) -> None:
    for source in ("cpu", "nv"):
        assert stream(seed, source)(SHAPE).isfinite().all()
        assert torch.equal(stream(seed + 2**64, source)(SHAPE), stream(seed, source)(SHAPE))


def test_ensd_acts_after_the_first_noise() -> None:
    shifted = ImageNoise(Seeding(seeds=(5,), delta=10), SHAPE, CPU)
    plain, other = ImageNoise.seeded([5], SHAPE), ImageNoise.seeded([15], SHAPE)
    assert torch.equal(shifted.first(), plain.first())
    assert torch.equal(shifted.draw(), other.draw())


def test_variations_lead_from_one_noise_to_the_other() -> None:
    def varied(strength: float) -> torch.Tensor:
        seeding = Seeding(seeds=(5,), variation_seeds=(9,), strength=strength)
        return ImageNoise(seeding, SHAPE, CPU).first()

    ends = [ImageNoise.seeded([seed], SHAPE).first() for seed in (5, 9)]
    assert torch.equal(varied(0.0), ends[0])
    torch.testing.assert_close(varied(1.0), ends[1], atol=1e-5, rtol=0)
    assert (varied(0.2) - ends[0]).norm() < (varied(0.6) - ends[0]).norm()


def test_almost_parallel_noise_is_mixed_the_other_way_round() -> None:
    start = torch.ones(*SHAPE)
    torch.testing.assert_close(slerp(start, 2 * start, 0.25), 1.75 * start)


@pytest.mark.parametrize("small", [(4, 3), (2, 5), (6, 1), (8, 7), (7, 2), (6, 4)])
def test_seed_resize_keeps_the_middle(small: tuple[int, int]) -> None:
    noise = ImageNoise(Seeding(seeds=(5,), resize_from=small), SHAPE, CPU).first()[0]
    drawn, fresh = stream(5)((4, *small)), stream(5)(SHAPE)
    inside = torch.isin(noise, drawn).all(dim=0)
    assert inside.sum() >= (min(small[0], 6) - 1) * (min(small[1], 5) - 1)
    assert torch.equal(noise[:, ~inside], fresh[:, ~inside])
    resized_later = ImageNoise(Seeding(seeds=(5,), resize_from=small), SHAPE, CPU)
    plain = ImageNoise.seeded([5], SHAPE)
    resized_later.first(), plain.first()
    assert torch.equal(resized_later.draw(), plain.draw())


TIMES = st.lists(st.floats(0.03, 14.6), min_size=3, max_size=3, unique=True).map(sorted)


@given(TIMES)
def test_a_brownian_path_does_not_depend_on_the_steps_along_it(times: list[float]) -> None:
    a, b, c = times
    path = BrownianTree(0.03, 14.6, entropy=3, shape=(2, 2))
    parts = path.increment(a, b) + path.increment(b, c)
    torch.testing.assert_close(parts, path.increment(a, c), atol=1e-5, rtol=0)
    again = BrownianTree(0.03, 14.6, entropy=3, shape=(2, 2))
    assert torch.equal(again.increment(a, c), path.increment(a, c))


def test_increments_beyond_the_ends_are_clamped() -> None:
    path = BrownianTree(1.0, 2.0, entropy=3, shape=(2,))
    assert torch.equal(path.increment(0.0, 3.0), path.increment(1.0, 2.0))
    assert not path.increment(2.5, 3.0).any()


@SOURCES
@pytest.mark.parametrize("per_batch", [False, True])
def test_brownian_noise_is_standard_normal(source: Any, per_batch: bool) -> None:
    sigmas = torch.tensor([14.6, 5.0, 1.0, 0.03, 0.0])
    seeding = Seeding(seeds=(1, 2), source=source)
    noise = brownian_noise(sigmas, seeding, (4, 50, 50), CPU, per_batch=per_batch)
    for sigma, target in ((sigmas[0], sigmas[1]), (sigmas[1], sigmas[2])):
        drawn = noise(sigma, target)
        assert drawn.shape == (2, 4, 50, 50)
        assert abs(float(drawn.std()) - 1) < 0.05
    alone = brownian_noise(sigmas, Seeding(seeds=(2,), source=source), (4, 50, 50), CPU)
    assert torch.equal(noise(sigmas[0], sigmas[1])[1:], alone(sigmas[0], sigmas[1])) != per_batch
