"""Graphs of this package's own nodes: what the reader of images understands of them."""

from __future__ import annotations

import json
from typing import Any

from promptengine.images.read import describe_text
from promptengine.infotext.programs.comfyui_nodes import FIELDS
from promptengine.infotext.programs.reader import ProgramImage
from promptengine.integrations.comfyui.nodes import NODE_CLASS_MAPPINGS
from tests.public_surface import ROOT

WIDGETS = ("INT", "FLOAT", "STRING")


def graph(**changed: Any) -> dict[str, Any]:
    """The documentation's graph, the inputs of nodes changed by their ids."""
    text = (ROOT / "examples" / "comfyui_workflow.json").read_text(encoding="utf-8")
    found = json.loads(text)
    for name, inputs in changed.items():
        found[name.removeprefix("node")]["inputs"] |= inputs
    return found


def image_of(held: object) -> ProgramImage:
    image = describe_text(json.dumps(held)).image
    assert image is not None
    return image


def test_the_example_can_come_out_here() -> None:
    image = image_of(graph())
    assert image.program == "ComfyUI"
    assert (image.prompt, image.negative_prompt, image.dialect) == (
        "a (photo:1.2) of a [cat:dog:0.5]",
        "blurry",
        "webui",
    )
    assert dict(image.entries) == {
        **{"Steps": "20", "Sampler": "DPM++ 2M", "Schedule type": "Karras", "Seed": "1234"},
        **{"RNG": "CPU", "CFG scale": "7.0", "Size": "512x512", "Model": "model"},
    }
    assert image.verdict == "the same image can come out here, with the same files"
    assert not image.unmapped


def test_all_settings_of_the_nodes_are_read() -> None:
    more = {"variation_seed": 9, "variation_strength": 0.25, "noise_source": "nv", "eta": 0.5}
    sampler = {**more, "sampler": "Euler a", "seed_delta": 31337, "denoise": 0.6}
    prompt = {"dialect": "extended", "clip_skip": 2, "emphasis": "No norm"}
    image = image_of(graph(node2=sampler, node3=prompt))
    assert image.dialect == "extended"
    wanted = {"Variation seed": "9", "Variation seed strength": "0.25", "RNG": "NV", "Eta": "0.5"}
    told = {"ENSD": "31337", "Denoising strength": "0.6", "Clip skip": "2", "Emphasis": "No norm"}
    assert dict(image.entries) | wanted | told == dict(image.entries)
    assert image_of(graph(node2={"sampler": "DDIM", "eta": 1.0})).entries["Eta DDIM"] == "1.0"
    assert "RNG" not in image_of(graph(node2={"noise_source": "gpu"})).entries
    assert "all but the first image" in image_of(graph(node5={"batch_size": 2})).verdict


def test_loaded_hypernetworks_stand_in_the_order_in_which_they_act() -> None:
    held = graph(node2={"model": ["20", 0]}, node4={"model": ["21", 0]})
    for number, name, before in (("20", "ink.pt", "1"), ("21", "wash.pt", "3")):
        inputs = {"model": [before, 0], "hypernetwork": name, "strength": 0.5}
        held[number] = {"class_type": "PromptEngineLoadHypernetwork", "inputs": inputs}
    image = image_of(held)
    own = "a (photo:1.2) of a [cat:dog:0.5]"
    assert image.prompt == f"<hypernet:ink:0.5>{own}<hypernet:wash:0.5>"
    assert not image.differences


def test_what_others_have_a_part_in_is_told() -> None:
    held = graph(node6={"noise": ["20", 0]})
    held["20"] = {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}}
    assert "other nodes have a part in its noise" in image_of(held).verdict
    held = graph(node4={"cfg": ["30", 0]})
    assert "its CFG scale is not told" in image_of(held).verdict
    for changed, place in (
        ({"node2": {"steps": "x"}}, "node 2 (PromptEngineWebUISampler) steps"),
        ({"node3": {"prompt": 5}}, "node 3 (PromptEngineWebUIPrompt) prompt"),
    ):
        (told,) = image_of(graph(**changed)).unmapped
        assert told.place == place


def test_the_fields_of_workflows_are_those_of_the_nodes() -> None:
    for name, node in NODE_CLASS_MAPPINGS.items():
        declared: Any = node
        inputs = declared.INPUT_TYPES()
        both = {**inputs["required"], **inputs.get("optional", {})}
        fields = [
            key for key, (kind, *_) in both.items() if kind in WIDGETS or isinstance(kind, list)
        ]
        assert tuple(fields) == FIELDS[name]


def test_workflows_name_no_fields_and_are_read_alike() -> None:
    values = ["Euler", "Karras", 12, 1.0, 77, "randomize", 0, 0.0, "cpu", -1.0, 0]
    nodes = [
        {"id": 2, "type": "PromptEngineWebUISampler", "widgets_values": values},
        {
            **{"id": 6, "type": "SamplerCustomAdvanced"},
            "inputs": [{"name": name, "link": 1 + n} for n, name in enumerate(LINKED)],
        },
        {
            **{"id": 3, "type": "PromptEngineWebUIPrompt"},
            "widgets_values": ["a cat", "a dog", 20, "webui", 1, "Original", "warn"],
        },
        {
            **{"id": 4, "type": "CFGGuider", "widgets_values": [5.5]},
            "inputs": [{"name": "positive", "link": 5}, {"name": "negative", "link": 6}],
        },
    ]
    links = [[1, 2, 3, 6, 0, ""], [2, 2, 1, 6, 0, ""], [3, 2, 2, 6, 0, ""], [4, 4, 0, 6, 0, ""]]
    links += [[5, 3, 1, 4, 0, ""], [6, 3, 2, 4, 1, ""]]
    image = image_of({"nodes": nodes, "links": links})
    assert (image.prompt, image.negative_prompt) == ("a cat", "a dog")
    entries = {"Steps": "12", "Seed": "77", "Sampler": "Euler", "CFG scale": "5.5"}
    assert dict(image.entries) | entries == dict(image.entries)
    assert not image.differences


LINKED = ("noise", "sampler", "sigmas", "guider")


STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        [],
        {},
        "x",
        "-1",
        -1,
        1e400,
        10**60,
        "\ud800",
        ["3", 0],
        ["2", True],
        [["2"], 0],
    ),
    *(["4", 99], ["gone", 0], ["2", -1], ["8", 0]),
)


def test_no_value_in_a_graph_of_own_nodes_is_more_than_left_out() -> None:
    plain = graph()
    for number, node in plain.items():
        for name in [*node["inputs"], "eta", "variation_strength", "dialect", "clip_skip"]:
            for value in STRANGE:
                found = describe_text(json.dumps(graph(**{f"node{number}": {name: value}})))
                assert found.program == "ComfyUI"
                if found.image is not None:
                    assert found.image.verdict
                    assert str(found.infotext)
