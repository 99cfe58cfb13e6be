"""Every surface has every field of a request, or says why not, and gets a new one by itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import pytest

from promptengine import GenerationRequest, HiresPass, ImageStart, Inpainting, RequestError
from promptengine.cli.field_options import add_fields, given_fields, given_labels
from promptengine.cli.main import COMMANDS
from promptengine.infotext.fields import DIRECT, FIELDS, INIT_IMAGE_FIELDS, OPTIONS
from promptengine.request.fields import (
    ApiField,
    Entry,
    FieldGroup,
    FieldSpec,
    Flag,
    LeftOut,
    RequestField,
    SharedWith,
    described,
    entries_of,
    fields_of,
    groups_of,
)
from promptengine.request.schema import fields_schema
from promptengine.request.values import parse_float
from promptengine.server.sdapi.fields import LenientModel, api_model, api_values, read_fields
from promptengine.server.sdapi.requests import Image2Image, Text2Image
from promptengine.server.v1.forms import form_of
from promptengine.server.v1.schemas import JobForm
from promptengine.validation import Between, check_fields

OWNERS = (GenerationRequest, HiresPass, ImageStart, Inpainting)
EVERY = [(owner, own) for owner in OWNERS for own in fields_of(owner)]


def flags_of(*commands: str) -> set[str]:
    found: set[str] = set()
    for name in commands:
        parser = argparse.ArgumentParser()
        COMMANDS[name].add_arguments(parser)
        found |= parser._option_string_actions.keys()
    return found


@pytest.mark.parametrize("owner", OWNERS)
def test_every_field_is_described_or_left_out_with_a_reason(owner: type) -> None:
    for own in fields(owner):
        spec = own.metadata["spec"]
        assert isinstance(spec, FieldSpec | FieldGroup | LeftOut), own.name
        assert not isinstance(spec, LeftOut) or spec.why


@pytest.mark.parametrize(
    ("owner", "own"), EVERY, ids=lambda one: getattr(one, "name", None) or one.__name__
)
class TestEachField:
    def test_is_an_option_of_the_command_line(self, owner: type, own: RequestField) -> None:
        flag = own.spec.flag
        if isinstance(flag, LeftOut):
            assert flag.why
        else:
            assert flag.name in flags_of("txt2img", "img2img")

    def test_is_in_webuis_api(self, owner: type, own: RequestField) -> None:
        api = own.spec.api
        if isinstance(api, LeftOut):
            assert api.why
            return
        model = Text2Image if owner in (GenerationRequest, HiresPass) else Image2Image
        for name, default in api.defaults.items():
            assert model.model_fields[name].default == default

    def test_is_in_our_own_api(self, owner: type, own: RequestField) -> None:
        form: Any = JobForm
        for name in {HiresPass: ("hires",), ImageStart: ("start",)}.get(owner, ()):
            form = form_of(groups_of(GenerationRequest)[name][1], "")
        if owner is Inpainting:
            form = form_of(Inpainting, "")
        if isinstance(own.spec.form, LeftOut):
            assert own.spec.form.why
            assert own.name not in form.model_fields
        else:
            assert own.name in form.model_fields

    def test_is_in_infotexts(self, owner: type, own: RequestField) -> None:
        entry = own.spec.entry
        if isinstance(entry, LeftOut):
            assert entry.why
        elif isinstance(entry, SharedWith):
            other = next(one for one in fields_of(owner) if one.name == entry.field)
            assert isinstance(other.spec.entry, Entry)
        elif entry.read is not None and owner is not ImageStart:
            assert entry.label in DIRECT | FIELDS | INIT_IMAGE_FIELDS
        else:
            # Read together with others.
            known = {"Sampler", "Schedule type", "Size", "Hires resize", "Prompt syntax"}
            assert entry.label in known | OPTIONS.keys() | FIELDS.keys()

    def test_is_described_for_pages(self, owner: type, own: RequestField) -> None:
        told = fields_schema(owner, {})["properties"][own.name]
        assert told["title"] == own.spec.label
        assert told["x-control"]


def described_labels() -> Iterator[str]:
    for _, own in EVERY:
        if isinstance(own.spec.entry, Entry):
            yield own.spec.entry.label


def test_no_name_has_two_meanings() -> None:
    flags = [own.spec.flag.name for _, own in EVERY if isinstance(own.spec.flag, Flag)]
    assert len(flags) == len(set(flags))
    labels = [label for label in described_labels() if label != "Denoising strength"]
    assert len(labels) == len(set(labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Softened(GenerationRequest):
    """A request with one more field: nothing but this declaration."""

    softness: Annotated[float, Between(0, 4)] = field(
        default=1.5,
        metadata=described(
            "Softness",
            "how soft it is",
            flag=Flag("--softness", "X"),
            api=ApiField({"softness": 1.5}),
            entry=Entry("Softness", parse_float),
            axis="softness",
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)


class TestANewField:
    def test_is_checked(self) -> None:
        with pytest.raises(RequestError, match=r"softness is 9; it must be 0 to 4"):
            Softened(prompt="", softness=9)

    def test_is_an_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        parser = argparse.ArgumentParser()
        add_fields(parser, Softened)
        options = parser.parse_args(["--softness", "2.5"])
        assert given_fields(options, Softened) == {"softness": 2.5}
        assert given_labels(options, Softened) == {"Softness"}
        parser.print_help()
        assert "how soft it is; default: 1.5" in " ".join(capsys.readouterr().out.split())

    def test_is_in_both_apis(self) -> None:
        form = form_of(Softened, "")
        told = form.model_json_schema()["properties"]["softness"]
        assert (told["minimum"], told["maximum"], told["default"]) == (0, 4, 1.5)
        model = api_model(LenientModel, Softened)
        given = model.model_validate({"softness": "2"})
        assert read_fields(given, Softened)["softness"] == 2
        assert api_values(Softened(prompt="", softness=3))["softness"] == 3

    def test_is_in_the_infotext(self) -> None:
        values = {own.name: getattr(Softened(prompt=""), own.name) for own in fields_of(Softened)}
        assert entries_of(Softened, values, values)["Softness"] == 1.5

    def test_is_described(self) -> None:
        told = fields_schema(Softened, {})["properties"]["softness"]
        assert told == {
            "title": "Softness",
            "description": "how soft it is",
            "type": "number",
            "minimum": 0,
            "maximum": 4,
            "default": 1.5,
            "x-control": "number",
            "x-api": ["softness"],
            "x-infotext": "Softness",
            "x-flag": "--softness",
            "x-axis": "softness",
        }


def test_shared_entries_go_where_all_their_fields_are_given() -> None:
    parser = argparse.ArgumentParser()
    add_fields(parser, GenerationRequest)
    assert given_labels(parser.parse_args(["--width", "64"]), GenerationRequest) == set()
    both = parser.parse_args(["--width", "64", "--height", "64"])
    assert given_labels(both, GenerationRequest) == {"Size"}


@pytest.mark.parametrize(
    ("text", "said"),
    [("5", "must be WIDTHxHEIGHT"), ("axb", "must be WIDTHxHEIGHT"), ("64x64x64", "WIDTHxHEIGHT")],
)
def test_a_wrong_option_is_explained(
    capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    parser = argparse.ArgumentParser()
    add_fields(parser, GenerationRequest)
    with pytest.raises(SystemExit):
        parser.parse_args(["--seed-resize-from", text])
    assert said in capsys.readouterr().err
