"""Text encoders: vectors in place of tokens, and what each family reads, against the libraries."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from promptengine.errors import RequestError
from promptengine.prompt import attention, parse, schedule
from promptengine.text.chunks import Chunk, chunk_fragments
from promptengine.text.conditioning import encode_chunks, encode_schedule
from promptengine.text.encoder import (
    clip_text_model,
    pooled_text,
    sd2_text_model,
    sd3_text_model,
    sdxl_text_model,
    text_widths,
)
from promptengine.text.textual_inversion.table import EmbeddingTable, Placement
from promptengine.text.tokenizer import END_TOKEN, clip_tokenizer
from tests.text.textual_inversion.builders import word


def config(width: int, layers: int = 3, activation: str = "quick_gelu") -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        hidden_act=activation,
        projection_dim=20,
        vocab_size=49408,
    )


@pytest.fixture(scope="module")
def first() -> CLIPTextModel:
    torch.manual_seed(0)
    return livelier(CLIPTextModel(config(16)))


@pytest.fixture(scope="module")
def second() -> CLIPTextModelWithProjection:
    torch.manual_seed(1)
    return livelier(CLIPTextModelWithProjection(config(24, activation="gelu")))


def livelier(model):
    """Random weights large enough that layers differ visibly."""
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.05)
    return model.eval()


def tokens_of(*texts: str) -> Tensor:
    return torch.tensor([chunk_fragments(attention(text))[0].tokens for text in texts])


def test_vectors_of_tokens_in_place_of_tokens_change_nothing(first: CLIPTextModel) -> None:
    model = clip_text_model(first)
    tokens = tokens_of("a photo of a cat", "dog")
    table = first.get_input_embeddings().weight.detach()
    stand_in = word("x", 2, 16)
    same = type(stand_in)("x", table[tokens[0, 3:5]].clone())
    blanked = tokens.clone()
    blanked[0, 3:5] = 0
    (expected,) = model(tokens).states
    (found,) = model(blanked, [[Placement(3, same)], []]).states
    assert torch.equal(found, expected)
    (other,) = model(blanked, [[Placement(3, stand_in)], []]).states
    assert not torch.allclose(other[0], expected[0], atol=1e-3)
    assert torch.equal(other[1], expected[1])
    # Attention looks back only: what stands before the vectors does not know of them.
    torch.testing.assert_close(other[0, :3], expected[0, :3])


def test_an_encoder_is_afterwards_what_it_was(first: CLIPTextModel) -> None:
    before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    tokens = tokens_of("cat")
    model = clip_text_model(first)
    plain = model(tokens).states[0]
    with pytest.raises(RuntimeError):
        # Vectors of another width.
        model(tokens, [[Placement(1, word("x", 2, 8))]])
    model(tokens, [[Placement(1, word("x", 2, 16))]])
    assert torch.equal(model(tokens).states[0], plain)
    assert not first.get_input_embeddings()._forward_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in first.state_dict().items())


def test_calls_from_several_threads_do_not_mix(first: CLIPTextModel) -> None:
    """Two engines may share one encoder."""
    model = clip_text_model(first)
    tokens = tokens_of("a photo of a cat")
    words: Sequence[Sequence[Placement]] = [
        [Placement(2, word(str(seed), 2, 16, seed))] for seed in range(4)
    ]
    expected = [model(tokens.clone(), [placed]).states[0] for placed in words]
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(20):
            found = model(tokens.clone(), [words[number]]).states[0]
            if not torch.allclose(found, expected[number], atol=1e-6):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_clip_skip_counts_from_the_end_and_keeps_the_norm(first: CLIPTextModel) -> None:
    tokens = tokens_of("a cat")
    with torch.no_grad():
        output = first(input_ids=tokens, output_hidden_states=True)
        expected = getattr(first, "text_model", first).final_layer_norm(output.hidden_states[-2])
    torch.testing.assert_close(clip_text_model(first, clip_skip=2)(tokens).states[0], expected)
    torch.testing.assert_close(clip_text_model(first)(tokens).states[0], output.last_hidden_state)
    with pytest.raises(RequestError, match="3 layers"):
        clip_text_model(first, clip_skip=4)


def test_sd2_reads_the_last_layer_but_one_normalized(first: CLIPTextModel) -> None:
    """A whole encoder, and one without its unused last layer as diffusers keeps it, say the same."""
    shorter = CLIPTextModel(config(16, layers=2)).eval()
    shorter.load_state_dict(first.state_dict(), strict=False)
    tokens = tokens_of("a photo of a cat", "")
    padded = with_zeros(tokens)
    with torch.no_grad():
        expected = shorter(input_ids=padded).last_hidden_state
    for model in (sd2_text_model(shorter), sd2_text_model(first, layer=2)):
        encoded = model(tokens)
        assert encoded.pooled is None
        torch.testing.assert_close(encoded.states[0], expected)


def with_zeros(tokens: Tensor) -> Tensor:
    """Padding as OpenCLIP has it: one end token, then zeros."""
    padded = tokens.clone()
    for row in padded:
        row[int((row == END_TOKEN).nonzero()[0]) + 1 :] = 0
    return padded


def test_sdxl_reads_both_encoders_as_diffusers_does(
    first: CLIPTextModel, second: CLIPTextModelWithProjection
) -> None:
    from diffusers import StableDiffusionXLPipeline

    tokenizers = [clip_tokenizer(), clip_tokenizer()]
    pipeline = StableDiffusionXLPipeline(
        vae=None,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=with_padding(tokenizers[0], "<|endoftext|>"),
        tokenizer_2=with_padding(tokenizers[0], "!"),
        unet=None,
        scheduler=None,
        add_watermarker=False,
    )
    for text in ("a photo of a cat", "", "dog " * 75):
        with torch.no_grad():
            states, _, pooled, _ = pipeline.encode_prompt(
                text, device=torch.device("cpu"), do_classifier_free_guidance=False
            )
        part = schedule(parse(text).parts[0], 1)
        found = encode_schedule(part, sdxl_text_model(first, second))
        torch.testing.assert_close(found.embeddings, states)
        torch.testing.assert_close(found.pooled, pooled)
        assert found.pooled_at(0) is not None


def with_padding(tokenizer, token: str):
    import copy

    own = copy.deepcopy(tokenizer)
    own.pad_token = token
    own.model_max_length = 77
    return own


def test_sdxl_weighs_each_encoder_on_its_own_and_not_the_pooled_vector(
    first: CLIPTextModel, second: CLIPTextModelWithProjection
) -> None:
    model = sdxl_text_model(first, second)
    plain, weighted = (chunk_fragments(attention(text)) for text in ("a cat", "a (cat:1.5)"))
    before, pooled = encode_chunks([plain], model)
    after, pooled_after = encode_chunks([weighted], model)
    assert before.shape == (1, 77, 40)
    for part in (slice(0, 16), slice(16, 40)):
        torch.testing.assert_close(after[..., part].mean(), before[..., part].mean())
    assert pooled is not None and pooled_after is not None
    torch.testing.assert_close(pooled, pooled_after)


def test_the_pooled_vector_is_the_first_chunks(
    first: CLIPTextModel, second: CLIPTextModelWithProjection
) -> None:
    model = sdxl_text_model(first, second)
    long: list[Chunk] = chunk_fragments(attention("dog " * 80))
    states, pooled = encode_chunks([long, long[:1]], model)
    assert states.shape == (2, 154, 40)
    assert pooled is not None
    torch.testing.assert_close(pooled[0], pooled[1])


def test_a_word_of_two_encoders_reaches_both(
    first: CLIPTextModel, second: CLIPTextModelWithProjection
) -> None:
    assert text_widths(first, second) == (16, 24)
    one, other = word("ink", 2, 16), word("ink", 2, 24)
    both = type(one)("ink", one.vectors, second=other.vectors)
    assert both.widths == (16, 24)
    part = schedule(parse("an ink cat").parts[0], 1)
    model = sdxl_text_model(first, second)
    plain = encode_schedule(part, model)
    found = encode_schedule(part, model, embeddings=EmbeddingTable((both,)))
    assert found.words == (both,) and plain.words == ()
    for index in (slice(0, 16), slice(16, 40)):
        assert not torch.allclose(found.embeddings[..., index], plain.embeddings[..., index])
    assert not torch.allclose(found.pooled, plain.pooled)


def test_sd3_reads_both_encoders_as_one(second: CLIPTextModelWithProjection) -> None:
    torch.manual_seed(2)
    first = livelier(CLIPTextModelWithProjection(config(16)))
    tokens = tokens_of("a cat", "a dog")
    padded = tokens.clone()
    padded[:, 4:] = 0
    with torch.no_grad():
        outputs = [
            encoder(ids, output_hidden_states=True)
            for encoder, ids in ((first, tokens), (second, padded))
        ]
    for clip_skip in (0, 1):
        found = sd3_text_model(first, second, clip_skip=clip_skip)(tokens)
        states = [one.hidden_states[-2 - clip_skip] for one in outputs]
        (own,) = found.states
        assert torch.equal(own, torch.cat(states, dim=-1))
        assert found.pooled is not None
        assert torch.equal(found.pooled, torch.cat([one.text_embeds for one in outputs], dim=-1))
    for wrong in (-1, 2):
        with pytest.raises(RequestError, match=f"clip_skip is {wrong}; .* it must be 0 to 1"):
            sd3_text_model(first, second, clip_skip=wrong)


def test_flux_reads_the_pooled_state_alone(first: CLIPTextModel) -> None:
    tokens = tokens_of("a cat", "a dog")
    with torch.no_grad():
        assert torch.equal(pooled_text(first, tokens), first(tokens).pooler_output)
        tokens[:, 4:] = 0
        assert torch.equal(
            pooled_text(first, tokens_of("a cat", "a dog"), padding=0), first(tokens).pooler_output
        )
