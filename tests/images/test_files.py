"""Text through image files and back, and files that mean harm."""

from __future__ import annotations

import json
import struct
import zlib
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import piexif
import piexif.helper
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from promptengine import (
    ImageError,
    Infotext,
    RequestError,
    encode_image,
    read_image_info,
    read_infotext,
    save_image,
    save_png,
)
from promptengine.images.exif import make_exif, read_user_comment
from promptengine.images.png_chunks import read_texts
from promptengine.images.save import from_json, to_json
from tests.infotext.builders import ENCODABLE, HOSTILE, TEXTS, infotexts, is_plain

BLANK = Image.new("RGB", (8, 8))
LINE = "Steps: 20, Sampler: Euler a, Seed: 1"
through_files = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(*chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def read_bytes(content: bytes, tmp_path: Path) -> Any:
    path = tmp_path / "image"
    path.write_bytes(content)
    return read_image_info(path)


@through_files
@given(infotexts(HOSTILE | st.text(ENCODABLE)))
def test_through_a_png_for_every_prompt(tmp_path: Path, infotext: Infotext) -> None:
    save_image(BLANK, tmp_path / "a.png", infotext)
    found = read_image_info(tmp_path / "a.png")
    assert (found.infotext, found.source) == (infotext, "promptengine")
    assert found.infotext is not None
    assert list(found.infotext.entries) == list(infotext.entries)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["parameters"] == str(infotext)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "JPEG"])
@through_files
@given(infotext=infotexts(HOSTILE.filter(is_plain)))
def test_through_exif(tmp_path: Path, suffix: str, infotext: Infotext) -> None:
    path = tmp_path / f"a.{suffix}"
    save_image(BLANK, path, infotext)
    found = read_image_info(path)
    assert (found.infotext, found.source) == (infotext, "UserComment")


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
@through_files
@given(text=TEXTS.filter(str.strip))
def test_other_programs_read_what_we_write(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"a.{suffix}"
    save_image(BLANK, path, text)
    comment = piexif.load(str(path))["Exif"][piexif.ExifIFD.UserComment]
    assert piexif.helper.UserComment.load(comment) == text


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_we_read_what_other_programs_write(suffix: str, tmp_path: Path) -> None:
    text = f"猫 🐱\n{LINE}"
    comment = piexif.helper.UserComment.dump(text, encoding="unicode")
    exif = piexif.dump({"0th": {271: b"x" * 40}, "Exif": {piexif.ExifIFD.UserComment: comment}})
    BLANK.save(tmp_path / f"a.{suffix}", exif=exif)
    assert read_image_info(tmp_path / f"a.{suffix}").infotext == read_infotext(text)


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + f"cät\n{LINE}".encode("utf-16-le"),
        b"UNICODE\0" + f"cät\n{LINE}".encode("utf-16-be"),
        b"UNICODE\0" + f"\ufeffcät\n{LINE}".encode("utf-16-le"),
        b"ASCII\0\0\0" + f"cät\n{LINE}".encode(),
        b"\0" * 8 + f"cät\n{LINE}\0".encode(),
        f"cät\n{LINE}".encode(),
    ],
)
def test_comments_in_any_encoding(comment: bytes) -> None:
    head = struct.pack("<2sHI", b"II", 42, 8)
    first = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    second = struct.pack("<HHHIII", 1, 0x9286, 7, len(comment), 44, 0)
    assert read_user_comment(b"Exif\0\0" + head + first + second + comment) == f"cät\n{LINE}"


def test_gif_and_text_files(tmp_path: Path) -> None:
    infotext = read_infotext(f'猫\n{LINE}, Lora hashes: "{"a: 1, " * 100}"')
    BLANK.save(tmp_path / "a.gif", comment=str(infotext).encode(), save_all=True)
    assert read_image_info(tmp_path / "a.gif").infotext == infotext
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + str(infotext).replace("\n", "\r\n").encode())
    found = read_image_info(tmp_path / "a.txt")
    assert (found.infotext, found.format) == (infotext, "text")


@pytest.mark.parametrize(
    ("texts", "program"),
    [
        ({"parameters": '{"prompt": "a", "version": "Fooocus v2.5.0"}'}, "Fooocus"),
        ({"parameters": '{"sui_image_params": {"prompt": ""}}'}, "SwarmUI"),
        ({"prompt": '{"3": {"class_type": "KSampler", "inputs": {}}}'}, "ComfyUI"),
        ({"invokeai_metadata": '{"positive_prompt": "a"}'}, "InvokeAI"),
        ({"use_stable_diffusion_model": "sd-v1-4", "prompt": "a"}, "Easy Diffusion"),
        ({"Software": "Draw Things", "Comment": "a"}, "Draw Things"),
    ],
)
def test_other_programs_metadata_is_no_prompt(
    texts: dict[str, str], program: str, tmp_path: Path
) -> None:
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    BLANK.save(tmp_path / "a.png", pnginfo=info)
    found = read_image_info(tmp_path / "a.png")
    assert (found.infotext, found.program, dict(found.texts)) == (None, program, texts)
    assert f"metadata of {program}" in found.nothing


def test_an_infotext_counts_beside_other_programs_texts(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", f"a\n{LINE}")
    info.add_text("workflow", '{"nodes": [], "links": []}')
    BLANK.save(tmp_path / "a.png", pnginfo=info)
    found = read_image_info(tmp_path / "a.png")
    assert (found.infotext, found.program) == (read_infotext(f"a\n{LINE}"), "")


def test_an_editors_comment_is_no_prompt(tmp_path: Path) -> None:
    BLANK.save(tmp_path / "a.jpg", comment=b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62)")
    assert read_image_info(tmp_path / "a.jpg").infotext is None


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    for content in (b"", b" \r\n\t"):
        with pytest.raises(ImageError, match="the file is empty"):
            read_bytes(content, tmp_path)


def test_a_text_file_beside_the_image(tmp_path: Path) -> None:
    BLANK.save(tmp_path / "a.png")
    assert read_image_info(tmp_path / "a.png").infotext is None
    (tmp_path / "a.txt").write_text("a caption for training")
    assert read_image_info(tmp_path / "a.png").infotext is None
    (tmp_path / "a.txt").write_text(f"a\n{LINE}\n")
    found = read_image_info(tmp_path / "a.png")
    assert (found.infotext, found.source) == (read_infotext(f"a\n{LINE}"), "a.txt")


def test_all_kinds_of_png_text(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", f"é\n{LINE}", zip=True)
    info.add_itxt("workflow", "{}", zip=True)
    info.add_itxt("título", "x", lang="es", tkey="título")
    BLANK.save(tmp_path / "a.png", pnginfo=info)
    found = read_image_info(tmp_path / "a.png")
    assert found.infotext == read_infotext(f"é\n{LINE}")
    assert found.texts["workflow"] == "{}"
    assert list(found.texts.values()) == ["{}", "x"]
    novelai = png(
        chunk(b"tEXt", b"Software\0NovelAI"),
        chunk(b"tEXt", b'Comment\0{"steps": 28, "uc": "bad", "seed": 1}'),
        chunk(b"tEXt", b"Description\0a cat"),
    )
    assert read_bytes(novelai, tmp_path).infotext.entries["Steps"] == "28"


def test_a_text_that_another_program_changed_wins_over_our_own(tmp_path: Path) -> None:
    own = chunk(b"iTXt", b"promptengine\0\0\0\0\0" + to_json(Infotext("a")).encode())
    changed = png(own, chunk(b"tEXt", b"parameters\0b"))
    assert read_bytes(changed, tmp_path).infotext == Infotext("b")
    assert read_bytes(png(own), tmp_path).infotext == Infotext("a")


def test_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "webp"):
        save_image(BLANK, tmp_path / f"a.{suffix}", Infotext("a\ud800b"))
        assert read_image_info(tmp_path / f"a.{suffix}").infotext == Infotext("a\ufffdb")


@given(st.text() | st.sampled_from(["[" * 100_000, '{"version": 1}', "null"]))
def test_no_json_of_others_is_ours(text: str) -> None:
    assert from_json(text) is None


@pytest.mark.parametrize("value", [None, 1, [1], [["a"]], [["a", 1]], {"a": "b"}])
@pytest.mark.parametrize("key", ["prompt", "entries", "strays", "version", "trailing"])
def test_damaged_json_is_none(key: str, value: object) -> None:
    document = {**json.loads(to_json(Infotext("a"))), key: value}
    expected = Infotext("a") if document == json.loads(to_json(Infotext("a"))) else None
    assert from_json(json.dumps(document)) == expected


def test_canonical_json_is_a_law() -> None:
    infotext = Infotext("a\n猫", "b", {"Steps": "1", "Kite": "Kite"}, ("odd",), "more")
    assert from_json(to_json(infotext)) == infotext
    assert to_json(Infotext("猫")) == (
        '{"entries":[],"negative_prompt":"","prompt":"猫","strays":[],"trailing":"","version":1}'
    )


BOMB = zlib.compress(b"a" * (17 << 20))
HALF_BOMB = zlib.compress(b"a" * (9 << 20))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (png(chunk(b"zTXt", b"parameters\0\0" + BOMB)), "more than 16 MiB"),
        (png(chunk(b"iTXt", b"parameters\0\1\0\0\0" + BOMB)), "more than 16 MiB"),
        (png(chunk(b"tEXt", b"parameters\0" + b"a" * (300 << 10))), "307200 characters, more than"),
        (png(chunk(b"zTXt", b"parameters\0\0nonsense")), "compressed text"),
        (png(chunk(b"zTXt", b"a\0\0" + HALF_BOMB) * 2), "more than 16 MiB of text"),
        (png(chunk(b"abCd", b"") * 60_000), "more pieces than any program"),
        (b"\xff\xd8" + b"\xff" * 100_000, "more pieces than any program"),
        (b"GIF89a\1\0\1\0\0\0\0" + b"\x21\xf9\1a\0" * 60_000, "more pieces than any program"),
        (b"a" * (2 << 20), "no infotext"),
        (png(b"\xff\xff\xff\xfftEXt"), "more than 16 MiB of text"),
        (png(b"\x7f\xff\xff\xffIDAT"), "ends early"),
        (png(b"\0\0\0\4tEXta\0bcXXXX"), "checksum"),
        (png()[:-12], "ends early"),
        (b"\x89PNG\r\n\x1a\n", "ends early"),
        (b"\xff\xd8\xff\xe1\xff\xffExif", "ends early"),
        (b"\xff\xd8\xff\xe1\0\1", "no length"),
        (b"\xff\xd8\0\0\0\0", "not where it should be"),
        (b"RIFF\xff\xff\xff\xffWEBPEXIF\xff\xff\xff\xff", "more than 16 MiB"),
        (b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff", "ends early"),
        (b"GIF89a\1\0\1\0\0\0\0\x21\xfe\xffabc", "ends early"),
        (b"GIF89a\1\0\1\0\0\0\0\x99", "no known kind"),
        (b"\0\1\2", "neither an image"),
        (b"\xff\xfe\xfd text", "neither an image"),
    ],
)
def test_damaged_and_hostile_files_are_one_clear_error(
    content: bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        read_bytes(content, tmp_path)
    assert str(tmp_path / "image") in str(caught.value)


@through_files
@given(st.data())
def test_damage_anywhere_is_an_answer_or_an_error(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(["png", "jpg", "webp", "gif"]))
    path = tmp_path / f"whole.{suffix}"
    if not path.exists():
        if suffix == "gif":
            BLANK.save(path, comment=b"a" * 600)
        else:
            save_image(BLANK, path, Infotext("a", "b", {"Steps": "1"}))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_texts(damaged)
    except ImageError as error:
        assert str(damaged) in str(error)
    else:
        assert found is None or isinstance(found.texts, dict)


@given(st.binary(max_size=60), st.binary(max_size=4))
def test_any_exif_is_an_answer(tail: bytes, middle: bytes) -> None:
    whole = make_exif("a")
    for block in (b"Exif\0\0MM\0*" + tail, b"II*\0" + tail, whole[:-4] + middle, whole[:20] + tail):
        assert isinstance(read_user_comment(block), str | None)


def test_writing_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"must end in \.png, \.jpg"):
        save_image(BLANK, tmp_path / "a.bmp", "a")
    with pytest.raises(ImageError, match="too long for JPEG"):
        save_image(BLANK, tmp_path / "a.jpg", "a" * 40_000)
    with pytest.raises(ImageError, match="longer than an image may hold"):
        save_png(BLANK, tmp_path / "a.png", "a" * (17 << 20))
    with pytest.raises(ImageError, match="cannot be written"):
        save_image(Image.new("RGB", (20_000, 1)), tmp_path / "a.webp", "a")
    assert list(tmp_path.iterdir()) == []
    save_image(BLANK, tmp_path / "long.webp", "a" * 40_000)
    assert read_image_info(tmp_path / "long.webp").infotext == Infotext("a" * 40_000)
    save_image(BLANK, tmp_path / "silent.jpg")
    assert read_image_info(tmp_path / "silent.jpg").infotext is None


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_an_image_can_be_written_to_a_file_object(tmp_path: Path, form: str) -> None:
    image, file = Image.new("RGB", (8, 8), "red"), BytesIO(b"before")
    file.seek(0, 2)
    save_image(image, file, "a cat", format=form, quality=90)
    data = encode_image(image, form, "a cat", quality=90)
    assert file.getvalue() == b"before" + data
    assert not file.closed
    save_image(image, tmp_path / f"a.{form}", "a cat", quality=90)
    assert (
        (tmp_path / f"a.{form}").read_bytes()
        == data
        == encode_image(image, f".{form}", "a cat", quality=90)
    )


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("image", {"image": "a.png"}),
        ("target", {"target": 5}),
        ("infotext", {"infotext": 5}),
        ("format", {"format": 5}),
        ("quality", {"quality": 0}),
        ("quality", {"quality": "90"}),
    ],
)
def test_arguments_that_cannot_be_honored_are_refused(
    tmp_path: Path, field: str, arguments: dict[str, Any]
) -> None:
    usual = {"image": Image.new("RGB", (8, 8)), "target": tmp_path / "a.png"}
    with pytest.raises(RequestError) as caught:
        save_image(**{**usual, **arguments})
    assert caught.value.field == field
    assert not list(tmp_path.iterdir())


def test_a_file_open_for_text_and_an_unknown_format_are_refused(tmp_path: Path) -> None:
    image: Any = Image.new("RGB", (8, 8))
    file: Any = StringIO()
    with pytest.raises(RequestError, match="writing bytes"):
        save_image(image, file)
    with pytest.raises(ImageError, match="must end in"):
        encode_image(image, "bmp")


def test_further_texts_stand_beside_the_infotext() -> None:
    image = Image.new("RGB", (8, 8))
    texts = {"workflow": '{"ä": "\ud800"}', "prompt": "{}"}
    with Image.open(BytesIO(encode_image(image, "png", "a cat", texts=texts))) as found:
        assert found.info == {"parameters": "a cat", "workflow": '{"ä": "�"}', "prompt": "{}"}
    for keyword in ("", " a", "a ", "\u4e00", "a" * 80, "a\0b", "parameters", "promptengine"):
        with pytest.raises(RequestError, match="cannot be the keyword"):
            encode_image(image, "png", texts={keyword: ""})
    with pytest.raises(RequestError, match="only a PNG holds texts"):
        encode_image(image, "webp", texts=texts)
