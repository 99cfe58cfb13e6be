"""Guidance and the UNet's sizes, with UNets made up for the purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from promptengine.accel.tiling import circular_padding
from promptengine.errors import PromptEngineError
from promptengine.generation.cfg_denoiser import (
    CFGDenoiser,
    predict_noise,
    skips_resized_like_webui,
)
from promptengine.generation.cond_batch import PromptCond, build_cond_batch
from promptengine.request.options import Options
from promptengine.text.conditioning import Conditioning


class MeanUnet(nn.Module):
    """Answers with the mean of the text, so that guidance can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.batches: list[tuple[int, int]] = []

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        return_dict: bool,
        encoder_attention_mask: Tensor | None = None,
    ) -> list[Tensor]:
        self.batches.append((len(x), context.shape[1]))
        means = context.mean(dim=(1, 2))
        if encoder_attention_mask is not None:
            assert not context[~encoder_attention_mask].any()
            means = means / encoder_attention_mask.float().mean(dim=1)
        return [means[:, None, None, None].expand_as(x)]


def said(*values: float, tokens: int = 77, until: tuple[int, ...] = (10,)) -> Conditioning:
    return Conditioning(torch.stack([torch.full((tokens, 3), v) for v in values]), until)


def ask(
    unet: MeanUnet, *positive: tuple[Conditioning, float], negative: Conditioning, scale: float
):
    guided = CFGDenoiser(unet, [PromptCond(positive, negative, scale)])
    with torch.no_grad():
        return guided, guided(torch.zeros(2, 4, 1, 1), torch.tensor(500.0))[:, 0, 0, 0].tolist()


def test_guidance_adds_every_parts_weighted_pull() -> None:
    unet = MeanUnet()
    _, answer = ask(unet, (said(3.0), 0.8), (said(5.0), 1.2), negative=said(1.0), scale=7.0)
    expected = 1.0 + 0.8 * 7 * (3.0 - 1.0) + 1.2 * 7 * (5.0 - 1.0)
    torch.testing.assert_close(answer, [expected, expected])
    assert unet.batches == [(6, 77)]


def test_the_negative_prompt_counts_at_scale_1_too() -> None:
    unet = MeanUnet()
    _, answer = ask(unet, (said(3.0), 0.5), negative=said(1.0), scale=1.0)
    torch.testing.assert_close(answer, [2.0, 2.0])


def test_parts_are_lengthened_but_not_the_negative_prompt() -> None:
    unet = MeanUnet()
    long, short = said(3.0, tokens=154), said(3.0, tokens=77)
    _, answer = ask(unet, (long, 1.0), (short, 1.0), negative=said(1.0), scale=7.0)
    assert unet.batches == [(6, 154)]
    torch.testing.assert_close(answer, [1.0 + 2 * 7 * (3.0 - 1.0)] * 2)


def test_every_second_call_below_a_level_leaves_the_negative_prompt_out() -> None:
    unet = MeanUnet()
    guidance = PromptCond([(said(3.0), 0.5), (said(5.0), 1.0)], said(1.0), 7.0)
    guided = CFGDenoiser(unet, [guidance], Options(unguided_below=2.0))
    x, timestep = torch.zeros(1, 4, 1, 1), torch.tensor(1.0)
    answers = [float(guided(x, timestep, level=torch.tensor(v)).mean()) for v in (1, 1, 1, 2.0)]
    full = 1.0 + 0.5 * 7 * 2.0 + 7 * 4.0
    # The first part then stands for the negative prompt, at scale 1.
    assert answers == [full, 3.0 + 5.0 - 3.0, full, full]
    assert [images for images, _ in unet.batches] == [3, 2, 3, 3]


def asked_with(options: Options, levels: list[float], planned: int) -> list[int]:
    """How many texts each call of a denoiser asks the UNet with."""
    unet = MeanUnet()
    guided = CFGDenoiser(unet, [PromptCond([(said(3.0), 1.0)], said(1.0), 7.0)], options)
    guided.planned = planned
    for level in levels:
        guided(torch.zeros(1, 4, 1, 1), torch.tensor(1.0), level=torch.tensor(level))
    return [images for images, _ in unet.batches]


def test_every_call_below_a_level_may_leave_the_negative_prompt_out() -> None:
    options = Options(unguided_below=2.0, unguided_below_always=True)
    assert asked_with(options, [3.0, 1.0, 1.0, 2.0], planned=4) == [2, 1, 1, 2]
    assert asked_with(Options(unguided_below_always=True), [3.0, 1.0], planned=2) == [2, 2]


def test_a_share_of_the_first_calls_leaves_the_negative_prompt_out() -> None:
    assert asked_with(Options(unguided_early=0.4), [1.0] * 6, planned=6) == [1, 1, 1, 2, 2, 2]
    assert asked_with(Options(unguided_early=1.0), [1.0] * 3, planned=3) == [1, 1, 1]


def test_a_scale_in_units_of_the_sampler() -> None:
    unet = MeanUnet()
    guided = CFGDenoiser(unet, [PromptCond([(said(3.0), 1.0)], said(1.0), 25.0, unit=12.5)])
    assert float(guided(torch.zeros(1, 4, 1, 1), torch.tensor(1.0)).mean()) == 5.0
    assert guided.unconditional is not None and float(guided.unconditional.mean()) == 1.0


def test_options_even_out_prompts_of_different_length() -> None:
    long, short = said(3.0, tokens=154), said(1.0, tokens=77)
    empty = torch.zeros(77, 3)

    def batches(positive: Conditioning, negative: Conditioning, **options: bool):
        unet = MeanUnet()
        guidance = PromptCond([(positive, 1.0)], negative, 1.0, empty)
        assert guidance.uneven
        guided = CFGDenoiser(unet, [guidance], Options(**options))  # type: ignore[arg-type]
        answer = float(guided(torch.zeros(1, 4, 1, 1), torch.tensor(1.0)).mean())
        return unet.batches, answer

    assert batches(long, short) == ([(2, 154)], 3.0)
    # With empty chunks a prompt's mean halves; with its own last vector it stays.
    assert batches(short, long, pad_with_empty=True) == ([(2, 154)], 0.5)
    assert batches(long, short, pad_with_empty=True)[0] == [(2, 154)]
    assert batches(long, short, pad_with_last=True)[0] == [(2, 154)]
    assert batches(short, long, pad_with_last=True)[0] == [(2, 77)]
    assert batches(short, long, pad_with_last=True, pad_with_empty=True)[0] == [(2, 77)]


def test_every_image_follows_its_own_prompt() -> None:
    unet = MeanUnet()
    one = PromptCond([(said(3.0), 0.5), (said(5.0), 1.0)], said(1.0), 7.0)
    other = PromptCond([(said(2.0, tokens=154), 1.0)], said(4.0), 3.0)
    guided = CFGDenoiser(unet, [one, other])
    x, timestep = torch.zeros(2, 4, 1, 1), torch.tensor(1.0)
    answers = guided(x, timestep)[:, 0, 0, 0].tolist()
    torch.testing.assert_close(answers, [1 + 3.5 * 2 + 7 * 4, 4 + 3.0 * (2 - 4)])
    assert unet.batches == [(5, 154)]
    apart = CFGDenoiser(unet, [one, other], Options(batch_guidance=False))
    torch.testing.assert_close(apart(x, timestep)[:, 0, 0, 0].tolist(), answers)
    assert unet.batches[1:] == [(2, 154), (2, 77), (1, 77)]
    halved = CFGDenoiser(unet, [one, other], Options(unguided_below=9.0))
    halved.calls = 1
    answers = halved(x, timestep, level=torch.tensor(1.0))[:, 0, 0, 0].tolist()
    torch.testing.assert_close(answers, [3.0 + 5.0 - 3.0, 2.0])


def test_rows_have_the_signs_of_their_texts() -> None:
    def signed(text: Conditioning, *places: int) -> Conditioning:
        signs = torch.ones(text.embeddings.shape[:2])
        signs[:, list(places)] = -1
        return replace(text, signs=signs)

    def signs(options: Options, *guidance: PromptCond) -> list[list[list[int]]]:
        batch = build_cond_batch(guidance, 0, options, dtype=torch.float32)
        for call in batch.calls:
            assert call.signs is None or call.signs.shape == call.context.shape[:2]
        return [
            []
            if call.signs is None
            else [(row < 0).nonzero().flatten().tolist() for row in call.signs]
            for call in batch.calls
        ]

    long, short = signed(said(1.0, tokens=154), 3, 100), signed(said(2.0), 5)
    plain, empty = said(3.0), torch.zeros(77, 3)
    parts = PromptCond([(short, 1.0), (plain, 0.5)], long, 7.0, empty)
    alone = PromptCond([(plain, 1.0)], said(1.0), 7.0)
    assert signs(Options(), parts, alone) == [[[5], [], [3, 100], [], []]]
    assert signs(Options(batch_guidance=False), alone, parts) == [[[], [5]], [], [[3, 100]]]
    assert signs(Options(), alone) == [[]]
    for option in ("pad_with_empty", "pad_with_last"):
        assert signs(Options(**{option: True}), PromptCond([(long, 1.0)], short, 7.0, empty)) == [
            [[3, 100], [5]]
        ]
    cut = signs(Options(pad_with_last=True), parts)
    assert cut == [[[5], [], [3]]]


def test_signs_are_never_dropped_without_a_word() -> None:
    text = replace(said(1.0), signs=-torch.ones(1, 77))
    guided = CFGDenoiser(MeanUnet(), [PromptCond([(text, 1.0)], said(0.0), 7.0)])
    with pytest.raises(PromptEngineError, match="negative_weights is subtract"):
        guided(torch.zeros(1, 4, 1, 1), torch.tensor(1.0))


def test_prompts_can_be_asked_for_one_by_one() -> None:
    unet = MeanUnet()
    guidance = PromptCond([(said(3.0), 1.0)], said(1.0), 7.0)
    guided = CFGDenoiser(unet, [guidance], Options(batch_guidance=False))
    assert float(guided(torch.zeros(1, 4, 1, 1), torch.tensor(1.0)).mean()) == 15.0
    assert unet.batches == [(1, 77), (1, 77)]


def test_the_call_counter_reads_the_schedule() -> None:
    unet = MeanUnet()
    scheduled = said(2.0, 4.0, until=(1, 10))
    guided = CFGDenoiser(unet, [PromptCond([(scheduled, 1.0)], said(0.0), 1.0)])
    answers = [float(guided(torch.zeros(1, 4, 1, 1), torch.tensor(1.0)).mean()) for _ in range(4)]
    assert answers == [2.0, 2.0, 4.0, 4.0]
    assert guided.calls == 4


def tiny_unet() -> nn.Module:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        cross_attention_dim=6,
        attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


def predict(unet: nn.Module, height: int) -> Tensor:
    x = torch.linspace(-1, 1, 4 * height * 8).reshape(1, 4, height, 8)
    with torch.no_grad():
        return predict_noise(unet, x, torch.tensor([10.5]), torch.ones(1, 5, 6))


def test_odd_sizes_are_resized_after_the_convolution_and_even_ones_are_untouched() -> None:
    unet = tiny_unet()
    odd, even = predict(unet, 7), predict(unet, 8)
    with skips_resized_like_webui(unet):
        assert not torch.allclose(predict(unet, 7), odd)
        assert torch.equal(predict(unet, 8), even)
    assert torch.equal(predict(unet, 7), odd)


def test_tiling_lets_edges_meet_and_is_undone() -> None:
    unet = tiny_unet()
    before = predict(unet, 8)
    x = torch.linspace(-1, 1, 4 * 64).reshape(1, 4, 8, 8)
    convolution = unet.conv_in  # type: ignore[union-attr]
    with torch.no_grad(), circular_padding(unet):
        rolled = convolution(x.roll(3, dims=-1))
        torch.testing.assert_close(rolled, convolution(x).roll(3, dims=-1))
        assert not torch.equal(predict(unet, 8), before)
    assert torch.equal(predict(unet, 8), before)
    with circular_padding():
        assert torch.equal(predict(unet, 8), before)
