"""Downloads: interrupted and resumed, verified, inspected, and put in their places."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from promptengine import DownloadError, RequestError
from promptengine.civitai.keep import Download, download
from promptengine.civitai.site import Site, read_reference
from promptengine.civitai.web import Web
from promptengine.registry.registry import Registry, folders_below
from tests.civitai.site import FakeSite, running
from tests.conftest import WEBUI


def weights(size: int = 3000) -> bytes:
    """A pickle of nothing but numbers."""
    buffer = io.BytesIO()
    torch.save({"name": "ink", "weight": torch.arange(size, dtype=torch.float32)}, buffer)
    return buffer.getvalue()


class Evil:
    """What runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/never",)


def get(site: Site, models: Path, reference: str = "10", **more: Any) -> Download:
    return download(site, read_reference(reference), folders_below(models), **more)


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_file_is_put_where_webui_has_it(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    content = weights()
    fake.add(1, content)
    made = get(site, tmp_path)
    assert made.fresh and not made.notes
    assert made.path == tmp_path / "hypernetworks" / "ink.pt"
    assert made.path.read_bytes() == content
    beside = {"ink.pt", "ink.json", "ink.civitai.info", "ink.preview.png"}
    assert names(tmp_path / "hypernetworks") == beside
    user = json.loads((tmp_path / "hypernetworks" / "ink.json").read_text())
    assert user["description"] == "Ink – v1.0\nInk & wash\nat 0.8"
    assert user["sd version"] == "SD1" and user["activation text"] == "ink wash, sumi"
    assert user["notes"] == f"{fake.url}/models/10?modelVersionId=1"
    answer = json.loads((tmp_path / "hypernetworks" / "ink.civitai.info").read_text())
    assert answer == fake.documents[1]
    with Image.open(tmp_path / "hypernetworks" / "ink.preview.png") as image:
        assert image.format == "PNG" and image.size == (768, 512)
        assert image.getpixel((5, 5))[0] > 200, "the blue one is not for all ages"
    entry = Registry.open(tmp_path).find("hypernet", "ink")
    assert entry is not None and entry.path == made.path
    again = get(site, tmp_path)
    assert not again.fresh and again.path == made.path


@pytest.mark.parametrize(
    ("type_", "place"),
    [
        ("LORA", "Lora/a.safetensors"),
        ("LoCon", "Lora/a.safetensors"),
        ("TextualInversion", "embeddings/a.pt"),
        ("Checkpoint", "Stable-diffusion/a.ckpt"),
        ("VAE", "VAE/a.pt"),
        ("Upscaler", "ESRGAN/a.pth"),
    ],
)
def test_each_kind_has_its_folder(
    fake: FakeSite, site: Site, tmp_path: Path, type_: str, place: str
) -> None:
    fake.add(1, weights(10), name=Path(place).name, type_=type_)
    assert get(site, tmp_path).path == tmp_path / place


@pytest.mark.parametrize(
    "reference",
    [
        "10",
        "https://civitai.com/models/10/ink",
        "https://civitai.com/models/99?modelVersionId=1",
        "https://civitai.com/api/download/models/1",
        "urn:air:sd1:hypernetwork:civitai:10@1",
    ],
)
def test_a_model_is_named_in_several_ways(
    fake: FakeSite, site: Site, tmp_path: Path, reference: str
) -> None:
    fake.add(1, weights(10))
    assert get(site, tmp_path, reference).version.id == 1


def test_a_hash_names_the_file_it_is_of(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    content = weights(10)
    digest = hashlib.sha256(content).hexdigest()
    fake.add(1, content)
    for text in (digest, digest.upper(), digest[:10], "daee95b7"):
        assert get(site, tmp_path, text).path.name == "ink.pt"
    with pytest.raises(DownloadError, match="knows no file with the hash 0123456789"):
        get(site, tmp_path, "0123456789")


@pytest.mark.parametrize(
    "text", ["", "ink", "12x", "https://civitai.com/user/1", "0" * 30, "http://["]
)
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="neither the id of a model"):
        read_reference(text)


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeSite]:
    with running() as fake:
        yield fake


CONTENT = weights(500)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, len(CONTENT)), max_size=4),
    ranges=st.booleans(),
    etag=st.sampled_from(['"one"', 'W/"one"', ""]),
)
def test_interrupted_at_any_byte_and_resumed(
    shared: FakeSite,
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[int],
    ranges: bool,
    etag: str,
) -> None:
    models = tmp_path_factory.mktemp("models")
    shared.add(1, CONTENT, images=[])
    shared.ranges, shared.etag, shared.cut = ranges, etag, list(cuts)
    shared.stored.clear()
    with Web(shared.url, sleep=lambda _: None) as web:
        made = get(Site(web), models)
    assert made.path.read_bytes() == CONTENT
    assert not [name for name in names(models) if ".part" in name]
    asked = [seen.headers.get("range") for seen in shared.stored]
    assert asked[0] is None
    assert all(one is None or int(one[6:-1]) <= len(CONTENT) for one in asked)


@pytest.mark.parametrize("cut", [1, 1000, len(CONTENT) - 1, len(CONTENT)])
def test_a_later_call_goes_on_where_an_earlier_one_was_killed(
    fake: FakeSite, site: Site, tmp_path: Path, cut: int
) -> None:
    fake.add(1, CONTENT)

    def kill(done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    fake.cut = [cut]
    with pytest.raises(KeyboardInterrupt):
        get(site, tmp_path, on_bytes=kill)
    (part,) = (tmp_path / "hypernetworks").glob(".*.part")
    assert part.read_bytes() == CONTENT[:cut]
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert fake.stored[1].headers["range"] == f"bytes={cut}-"
    assert fake.stored[1].headers["if-range"] == '"one"'


def test_a_file_that_has_changed_begins_anew(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    old, new = weights(500), weights(600)
    fake.add(1, new, file={"hashes": {"SHA256": hashlib.sha256(new).hexdigest()}})
    fake.files[1], fake.cut = old, [1500]

    def kill(done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(site, tmp_path, on_bytes=kill)
    fake.files[1], fake.etag = new, '"two"'
    assert get(site, tmp_path).path.read_bytes() == new


def test_a_part_of_something_else_is_thrown_away(
    fake: FakeSite, site: Site, tmp_path: Path
) -> None:
    fake.add(1, CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    part = tmp_path / "hypernetworks" / f".ink.pt.{digest[:12]}.part"
    for content in (b"x" * 700, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 9999)):
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(content)
        made = get(site, tmp_path)
        assert made.path.read_bytes() == CONTENT and not part.exists()
        made.path.unlink()


def test_a_download_that_never_ends_is_given_up_and_kept(
    fake: FakeSite, site: Site, tmp_path: Path, waits: list[float]
) -> None:
    fake.add(1, CONTENT)
    fake.cut = [100] + [0] * 20
    with pytest.raises(DownloadError, match="100 bytes are here, and the next download goes on"):
        get(site, tmp_path)
    assert len(fake.stored) == 6 and len(waits) == 5
    fake.cut = []
    assert get(site, tmp_path).path.read_bytes() == CONTENT


def test_a_wrong_hash_is_refused(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    fake.add(1, CONTENT, file={"hashes": {"SHA256": "0" * 64}})
    with pytest.raises(DownloadError, match="SHA-256 is not the one"):
        get(site, tmp_path)
    assert names(tmp_path) == set()
    fake.add(1, CONTENT, file={"hashes": {"AutoV2": "0123456789"}})
    with pytest.raises(DownloadError, match="cannot be verified"):
        get(site, tmp_path)


def test_a_flipped_byte_is_noticed(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    fake.add(1, CONTENT)
    flipped = bytearray(CONTENT)
    flipped[777] ^= 1
    fake.files[1] = bytes(flipped)
    with pytest.raises(DownloadError, match="SHA-256"):
        get(site, tmp_path)
    assert names(tmp_path) == set()


EVIL = {
    "plain": pickle.dumps({"name": "ink", "x": Evil()}, protocol=2),
    "zip": (WEBUI / "hypernetworks_bad" / "hn-evil-zip.pt").read_bytes(),
}


@pytest.mark.parametrize("name", ["ink.pt", "ink.safetensors", "ink.ckpt", "ink.bin"])
@pytest.mark.parametrize("form", sorted(EVIL))
def test_a_pickle_with_code_is_never_kept(
    fake: FakeSite, site: Site, tmp_path: Path, name: str, form: str
) -> None:
    fake.add(1, EVIL[form], name=name)
    with pytest.raises(
        DownloadError, match=r"is not kept: .*(run code|system|legacy|pickle)"
    ) as caught:
        get(site, tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert names(tmp_path) == set()
    assert not Path("/tmp/never").exists()


def test_what_is_no_weights_is_not_kept(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    for content in (b"<html>please log in</html>" * 50, b"", b"PK\x03\x04 broken"):
        fake.add(1, content)
        with pytest.raises(DownloadError, match="is not kept"):
            get(site, tmp_path)
        assert names(tmp_path) == set()


@pytest.mark.parametrize("said", [100, len(CONTENT) - 1025])
def test_more_bytes_than_were_told_are_refused(
    fake: FakeSite, site: Site, tmp_path: Path, said: int
) -> None:
    fake.add(1, CONTENT, file={"sizeKB": said / 1024})
    with pytest.raises(DownloadError, match=r"and the site tells of|more bytes than"):
        get(site, tmp_path)
    assert names(tmp_path) == set()


def test_a_disk_without_room_is_told_before_anything_is_asked(
    fake: FakeSite, site: Site, tmp_path: Path
) -> None:
    fake.add(1, CONTENT, file={"sizeKB": 1e11})
    with pytest.raises(DownloadError, match="MiB of room"):
        get(site, tmp_path)
    assert not fake.stored


def test_a_disk_that_fills_up_is_told_and_the_rest_comes_later(
    fake: FakeSite, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promptengine.civitai import fetch

    def full(_write: Any, _piece: bytes) -> None:
        raise OSError(28, "No space left on device")

    fake.add(1, CONTENT)
    with monkeypatch.context() as patched:
        patched.setattr(fetch, "_write", full)
        with pytest.raises(DownloadError, match="No space left on device; once it can"):
            get(site, tmp_path)
    assert get(site, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written_is_told(
    fake: FakeSite, site: Site, tmp_path: Path
) -> None:
    fake.add(1, CONTENT)
    tmp_path.chmod(0o500)
    with pytest.raises(DownloadError, match="cannot be written: Permission denied"):
        get(site, tmp_path)
    tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file_is_told(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    fake.add(1, CONTENT)
    (tmp_path / "hypernetworks").write_text("x")
    with pytest.raises(DownloadError, match="cannot be written: File exists"):
        get(site, tmp_path)


def test_other_files_are_not_replaced_unasked(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    fake.add(1, CONTENT)
    folder = tmp_path / "hypernetworks"
    folder.mkdir()
    (folder / "ink.pt").write_bytes(b"mine")
    (folder / "ink.json").write_text('{"notes": "mine"}')
    (folder / "ink.png").write_bytes(b"mine")
    with pytest.raises(RequestError, match="use --force to replace it"):
        get(site, tmp_path)
    assert (folder / "ink.pt").read_bytes() == b"mine"
    get(site, tmp_path, force=True)
    assert (folder / "ink.pt").read_bytes() == CONTENT
    assert (folder / "ink.json").read_text() == '{"notes": "mine"}'
    assert (folder / "ink.png").read_bytes() == b"mine"
    assert not (folder / "ink.preview.png").exists()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../../evil.pt", "evil.pt"),
        ("..\\..\\evil.pt", "evil.pt"),
        ("/etc/passwd.pt", "passwd.pt"),
        ("con.pt", "_con.pt"),
        ("COM1.x.pt", "_COM1.x.pt"),
        (".hidden.pt", "hidden.pt"),
        ("a<b>:c|d?*\x00\n\u202e.pt", "a_b__c_d_____.pt"),
        ("x" * 400 + ".pt", "x" * 147 + ".pt"),
        ("None.pt", "civitai-1.pt"),
        ("a.pt/", "civitai"),
    ],
)
def test_names_lead_nowhere(
    fake: FakeSite, site: Site, tmp_path: Path, name: str, kept: str
) -> None:
    fake.add(1, CONTENT, name=name)
    if name.endswith("/"):
        with pytest.raises(DownloadError, match="no file of hypernetworks"):
            get(site, tmp_path)
        return
    made = get(site, tmp_path)
    assert made.path == tmp_path / "hypernetworks" / kept
    assert all(n.startswith("hypernetworks/") for n in names(tmp_path))


def test_what_has_no_folder_is_refused(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    fake.add(1, CONTENT, type_="Poses")
    with pytest.raises(
        DownloadError, match="type 'Poses'; there are folders for Hypernetwork, LORA"
    ):
        get(site, tmp_path)
    fake.add(1, CONTENT, name="ink.exe")
    with pytest.raises(DownloadError, match=r"no file of hypernetworks .*it has 'ink.exe'"):
        get(site, tmp_path)
    assert names(tmp_path) == set()


def test_another_file_of_a_version_can_be_named(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    document = fake.add(1, CONTENT)
    document["files"].insert(0, {**document["files"][0], "name": "small.pt", "primary": False})
    assert get(site, tmp_path).path.name == "ink.pt"
    assert get(site, tmp_path, name="small.pt").path.name == "small.pt"
    with pytest.raises(
        RequestError, match=r"no file 'large.pt'; of hypernetworks it has 'ink.pt', 'small.pt'"
    ):
        get(site, tmp_path, name="large.pt")


def test_a_preview_that_is_none_is_told_and_the_file_kept(
    fake: FakeSite, site: Site, tmp_path: Path
) -> None:
    def images(*urls: str) -> list[dict[str, Any]]:
        return [{"url": url, "nsfwLevel": 1, "type": "image"} for url in urls]

    for url, said in (
        (f"{fake.storage_url}/files/1", "no image of a known format"),
        ("http://192.168.0.1/a.png", "is not asked"),
        ("file:///etc/passwd", "is not asked"),
    ):
        fake.add(1, CONTENT, images=images(url))
        made = get(site, tmp_path)
        assert made.path.exists() and said in made.notes[0]
    fake.add(1, CONTENT)
    fake.documents[1]["images"] = [{"url": f"{fake.storage_url}/blue.jpeg", "nsfw": "X"}]
    assert "for all ages" in get(site, tmp_path).notes[0]
    assert get(site, tmp_path, nsfw=True).beside[-1].name == "ink.preview.png"


def test_what_the_sites_scans_say_is_told(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    fake.add(1, CONTENT, file={"pickleScanResult": "Danger"})
    assert get(site, tmp_path).notes == ("the site's pickle scan: Danger",)
