"""Weights by block in tags: lists, presets, and what is refused."""

from __future__ import annotations

import pytest

from promptengine.kinds import (
    HYPERNETWORK,
    LORA,
    AskedBlocks,
    BlockWeights,
    PresetTable,
    TagProblem,
)
from promptengine.kinds.blocks import BLOCKS, BUILT_IN_PRESETS, read_presets
from promptengine.kinds.tag import Curve, TagReading, finite_number

IN_SDXL = ("IN04", "IN05", "IN07", "IN08")
PLAIN_17 = ",".join(["1"] * 17)


class Number:
    """Reads multipliers that do not change over the steps."""

    over_steps = False
    later = False

    def __call__(self, text: str) -> Curve | None:
        value = finite_number(text)
        return None if value is None else Curve(((0.0, value),))

    def step(self, text: str) -> float | None:
        return finite_number(text)


def read(word: str, *arguments: str) -> TagReading:
    syntax = (LORA if word == "lora" else HYPERNETWORK).tag
    assert syntax is not None
    return syntax.read(word, arguments, Number())


def resolved(text: str, presets: PresetTable | None = None, dynamic: str = "") -> BlockWeights:
    return AskedBlocks(text, dynamic, "LoRA 'a'").resolve(presets or PresetTable())


def test_the_length_of_a_list_says_which_blocks_it_is_for() -> None:
    inner = [f"IN{n:02}" for n in range(12)], [f"OUT{n:02}" for n in range(12)]
    assert {
        12: ("BASE", *IN_SDXL, "MID", *inner[1][:6]),
        17: (
            *("BASE", "IN01", "IN02", *IN_SDXL, "MID"),
            *("OUT03", "OUT04", "OUT05", "OUT06", "OUT07", "OUT08", "OUT09", "OUT10", "OUT11"),
        ),
        20: ("BASE", *inner[0][:9], "MID", *inner[1][:9]),
        26: ("BASE", *inner[0], "MID", *inner[1]),
    } == BLOCKS
    for size, blocks in BLOCKS.items():
        numbers = [n / 8 for n in range(1, size + 1)]
        found = resolved(",".join(f" {n} " for n in numbers))
        assert [found.factor(block) for block in blocks] == numbers
        assert list(found.by_block) == list(blocks)
        # What the list does not name is off; what lies in no block is left alone.
        assert {found.factor(block) for block in {*BLOCKS[26]} - {*blocks}} <= {0.0}
        assert found.factor(None) == 1.0


def test_presets_that_need_no_file() -> None:
    assert BUILT_IN_PRESETS["NONE"] == ",".join("0" * 17)
    assert BUILT_IN_PRESETS["ALL"] == PLAIN_17
    expected = {
        "INS": "11110000000000000",
        "IND": "10001110000000000",
        "INALL": "11111110000000000",
        "MIDD": "10001111111100000",
        "OUTD": "10000000111100000",
        "OUTS": "10000000000011111",
        "OUTALL": "10000000111111111",
        "BASE": "10000000000000000",
        "IN02": "00100000000000000",
        "MID": "00000001000000000",
        "OUT11": "00000000000000001",
    }
    assert {name: BUILT_IN_PRESETS[name] for name in expected} == {
        name: ",".join(digits) for name, digits in expected.items()
    }
    assert resolved("ALL0.5").numbers == (0.5,) * 17
    assert resolved(" INS ") == BlockWeights(
        (1.0,) * 4 + (0.0,) * 13, "INS", BUILT_IN_PRESETS["INS"]
    )
    for text in BUILT_IN_PRESETS.values():
        assert len(resolved(text).numbers) == 17


def test_x_stands_for_the_number_in_the_tag() -> None:
    table = PresetTable({"D": "X,X+0.25,X-.5" + ",1" * 14})
    assert resolved("D", table).numbers == (1.0, 1.25, 0.5, *(1.0,) * 14)
    assert resolved("D", table, "-0.5").numbers[:3] == (-0.5, -0.25, -1.0)
    assert resolved("D", table).written == table.texts["D"]
    assert resolved("X" + ",0" * 11, None, "2").numbers == (2.0, *(0.0,) * 11)


@pytest.mark.parametrize(
    ("text", "dynamic", "said"),
    [
        ("1,0,0", "", "lbw has 3 numbers; it must have 12, 17, 20 or 26"),
        ("F", "", "preset 'F' of block weights has 61 numbers; it must have 12, 17, 20 or 26"),
        ("R" + ",1" * 16, "", "lbw holds 'R', a random number"),
        ("1,U" + ",1" * 15, "", "lbw holds 'U', a random number"),
        ("1,a" + ",1" * 15, "", "lbw holds 'a', which is no finite number"),
        ("1,inf" + ",1" * 15, "", "lbw holds 'inf', which is no finite number"),
        ("1,X+." + ",1" * 15, "", "lbw holds 'X+.', which is no finite number"),
        ("1," + "," * 15, "", "lbw holds '', which is no finite number"),
        ("X" + ",1" * 16, "nan", "x 'nan' is not a finite number"),
        ("INZ", "", "block weights 'INZ' are no preset; did you mean "),
        ("ins", "", "block weights 'ins' are no preset; did you mean 'INS'"),
        ("", "", "block weights '' are no preset; write 12, 17, 20 or 26 numbers or the name"),
        ("1", "", "block weights '1' are no preset; write 12, 17, 20 or 26 numbers or the name"),
    ],
)
def test_what_cannot_be_used_is_told(text: str, dynamic: str, said: str) -> None:
    table = PresetTable({**BUILT_IN_PRESETS, "F": ",".join("1" * 61)})
    with pytest.raises(TagProblem) as problem:
        resolved(text, table, dynamic)
    assert problem.value.problem.startswith(f"LoRA 'a': {said}")
    assert problem.value.reason in problem.value.problem


def test_long_text_is_cut_in_messages() -> None:
    with pytest.raises(TagProblem) as problem:
        resolved("Z" * 100_000)
    assert len(problem.value.problem) < 400
    with pytest.raises(TagProblem) as problem:
        resolved("1,2" * 100_000)
    assert len(problem.value.problem) < 400


def test_a_file_that_could_not_be_read_is_told_with_an_unknown_preset() -> None:
    table = PresetTable({"A": PLAIN_17}, ("Lora/lbwpresets.txt cannot be read: it is large",))
    with pytest.raises(TagProblem, match=r"Lora/lbwpresets\.txt cannot be read: it is large"):
        resolved("B", table)


def test_where_lbw_stands_in_a_loras_tag() -> None:
    asked = AskedBlocks("INS", "", "LoRA 'a'")
    for arguments in (
        ("a", "1", "lbw=INS"),
        ("a", "lbw=INS", "1"),
        ("lbw=INS", "a", "1"),
        ("a", "1", "1", "2", "lbw=INS"),
        ("a", "te=1", "lbw=INS"),
    ):
        reading = read("lora", *arguments)
        assert (reading.name, reading.curve, reading.blocks) == ("a", Curve(), asked)
    assert read("lora", "a", "1").blocks is None
    assert read("lora", "a", "lbw=P", "x=.5").blocks == AskedBlocks("P", ".5", "LoRA 'a'")


def test_where_lbw_stands_in_a_hypernetworks_tag() -> None:
    asked = AskedBlocks("INS", "", "hypernetwork 'a'")
    for arguments in (("a", "0.5", "lbw=INS"), ("a", "lbw=INS", "0.5")):
        assert read("hypernet", *arguments) == TagReading("a", ((0.0, 0.5),), blocks=asked)
    assert read("hypernet", "a", "lbw=INS") == TagReading("a", blocks=asked)
    # A name may begin like an argument, as before.
    assert read("hypernet", "lbw=INS").name == "lbw=INS"


@pytest.mark.parametrize("word", ["lora", "hypernet"])
def test_weights_by_element_are_refused(word: str) -> None:
    with pytest.raises(TagProblem, match=r"lbwe= \(weights by element\) is not supported"):
        read(word, "a", "1", "lbw=INS", "lbwe=ATTNDEEPON")


@pytest.mark.parametrize("kind", [LORA, HYPERNETWORK])
def test_x_alone_means_nothing(kind: object) -> None:
    tag = (LORA if kind is LORA else HYPERNETWORK).tag
    assert tag is not None
    assert tag.idle(("a", "1", "x=2")) == ["x=2"]
    assert tag.idle(("a", "1", "x=2", "lbw=P")) == []


def test_a_file_of_presets_is_read_as_the_extension_reads_it() -> None:
    text = "\n".join(
        [
            "# A:" + PLAIN_17,
            "a note, with: a colon",
            f" MINE : {PLAIN_17} ",
            f"MINE:{PLAIN_17.replace('1', '0.5')}",
            "ROUT:1,1,1,1,1,1,1,1,R,R,R,R,R,R,R,R,R",
            "SHORT:1,2,3",
            f"SHORT#:{PLAIN_17}",
            "TWICE:" + ",".join("1" * 12),
            "TWICE:1,2",
            f":{PLAIN_17}",
            f"a;b:{PLAIN_17}",
            PLAIN_17,
        ]
    )
    assert read_presets(text) == {
        "MINE": PLAIN_17.replace("1", "0.5"),
        "ROUT": "1,1,1,1,1,1,1,1,R,R,R,R,R,R,R,R,R",
        "SHORT": "1,2,3",
        "TWICE": ",".join("1" * 12),
    }
    assert read_presets("A:" + "1," * 5_000 + "1\n" + "N" * 200 + f":{PLAIN_17}") == {}
    assert len(read_presets("".join(f"A{n}:{PLAIN_17}\n" for n in range(20_000)))) == 10_000


@pytest.mark.parametrize("word", ["lora", "hypernet"])
def test_what_is_asked_twice_is_refused(word: str) -> None:
    with pytest.raises(TagProblem, match="lbw= stands there twice; write it once"):
        read(word, "a", "1", "lbw=INS", "lbw=IND")
    with pytest.raises(TagProblem, match="x= stands there twice"):
        read(word, "a", "1", "lbw=INS", "x=1", "x=2")


def test_x_without_lbw_is_a_bad_multiplier_as_before() -> None:
    with pytest.raises(TagProblem, match="multiplier 'x=5' of hypernetwork 'a'"):
        read("hypernet", "a", "x=5")
