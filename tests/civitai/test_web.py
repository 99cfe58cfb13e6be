"""How hosts are asked: tokens, redirects, private networks, tries, bounds."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from promptengine import DownloadError, RequestError
from promptengine.civitai import web as web_module
from promptengine.civitai.keep import download
from promptengine.civitai.site import Site, read_reference
from promptengine.civitai.web import Web
from promptengine.registry.registry import folders_below
from tests.civitai.site import FakeSite
from tests.civitai.test_keep import CONTENT

TOKEN = "s3cret-token-of-mine"


def get(site: Site, models: Path) -> Path:
    return download(site, read_reference("10"), folders_below(models)).path


def test_the_token_goes_to_the_site_alone(fake: FakeSite, tmp_path: Path) -> None:
    fake.add(1, CONTENT)
    with Web(fake.url, TOKEN) as web:
        assert get(Site(web), tmp_path).read_bytes() == CONTENT
    assert len(fake.seen) == 3
    assert {seen.headers.get("authorization") for seen in fake.seen} == {f"Bearer {TOKEN}"}
    assert len(fake.stored) == 2
    assert not any("authorization" in seen.headers for seen in fake.stored)
    assert not any(TOKEN in seen.path for seen in (*fake.seen, *fake.stored))


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_or_wrong_token_is_told_and_never_shown(
    fake: FakeSite, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for token, said in (("", "set CIVITAI_API_TOKEN to a token"), (TOKEN, "does not allow it")):
        fake.statuses = [(status, {})]
        with Web(fake.url, token) as web, pytest.raises(DownloadError, match=said) as caught:
            Site(web).search("ink")
        assert TOKEN not in str(caught.value) and TOKEN not in caplog.text
        assert TOKEN not in repr(web)


@pytest.mark.parametrize("token", ["a b", "a\nb", "ä", "a\x00"])
def test_what_cannot_be_a_token_is_refused_unshown(token: str) -> None:
    with pytest.raises(RequestError, match="something else than a token") as caught:
        Web("https://civitai.com", token)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "base", ["http://civitai.com", "ftp://127.0.0.1", "civitai.com", "", "https://", "http://["]
)
def test_only_https_is_asked(base: str) -> None:
    with pytest.raises(RequestError, match="base_url is"):
        Web(base)


@pytest.mark.parametrize(
    "target",
    [
        *("http://192.168.0.1/x", "http://10.0.0.1/x", "http://169.254.169.254/latest/meta-data"),
        *("https://192.168.0.1/x", "https://169.254.169.254/x", "https://[fd00::1]/x"),
        *("https://[::ffff:10.0.0.1]/x", "https://[64:ff9b::a00:1]/x", "https://100.64.0.1/x"),
        *("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "//10.0.0.1/x"),
        *("http://[", "https:///x"),
    ],
)
def test_redirects_lead_into_no_private_network(
    fake: FakeSite, site: Site, tmp_path: Path, target: str
) -> None:
    fake.add(1, CONTENT)
    fake.redirects["1"] = target
    with pytest.raises(DownloadError, match=r"is not asked|private network|no address|is none"):
        get(site, tmp_path)
    assert not fake.stored


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        *(("10.1.2.3", False), ("127.0.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False)),
        *(("::1", False), ("fe80::1", False), ("::ffff:127.0.0.1", False), ("8.8.8.8", True)),
        *(("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("2002:0a00:0001::", False)),
    ],
)
def test_a_name_that_means_a_private_address_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, address: str, asked: bool
) -> None:
    """The name is looked up once: what was checked is what is connected to."""
    connected: list[str] = []

    def lookup(host: str, port: int, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def handle(_self: Any, request: httpx.Request) -> httpx.Response:
        connected.append(request.url.host)
        assert request.headers["host"] == "storage.example"
        assert request.extensions["sni_hostname"] == "storage.example"
        return httpx.Response(204)

    monkeypatch.setattr(web_module.socket, "getaddrinfo", lookup)
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    with Web("https://civitai.com") as web:
        if not asked:
            said = "storage.example lies in a private network"
            with pytest.raises(DownloadError, match=said), web.stream("https://storage.example/x"):
                pass
            assert not connected
            return
        with web.stream("https://storage.example/x") as response:
            assert response.status_code == 204
    assert ipaddress.ip_address(connected[0]) == ipaddress.ip_address(address)


def test_a_site_on_this_machine_is_reached_by_no_other_sites_redirect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Web("https://civitai.com") as web:
        for url in ("http://127.0.0.1/x", "http://localhost/x"):
            with pytest.raises(DownloadError, match="only https is"), web.stream(url):
                pass
        with pytest.raises(DownloadError, match="private network"), web.stream("https://127.0.0.1"):
            pass


def test_redirects_come_to_an_end(fake: FakeSite, site: Site, tmp_path: Path) -> None:
    fake.add(1, CONTENT)
    fake.redirects["1"] = f"{fake.url}/api/download/models/1"
    with pytest.raises(DownloadError, match="redirects more than 5 times"):
        get(site, tmp_path)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_passes_is_tried_again(
    fake: FakeSite, site: Site, waits: list[float], status: int
) -> None:
    fake.add(1, CONTENT)
    fake.statuses = [(status, {}), (status, {"Retry-After": "9"}), (status, {})]
    assert len(site.search("ink").models) == 1
    assert waits == [1, 9, 4]
    fake.statuses = [(status, {})] * 4
    with pytest.raises(DownloadError, match=rf"\({status}\)"):
        site.search("ink")
    assert not fake.statuses


def test_a_long_wait_is_left_to_the_user(fake: FakeSite, site: Site, waits: list[float]) -> None:
    fake.statuses = [(429, {"Retry-After": "3600"})]
    with pytest.raises(DownloadError, match=r"asked too often .* it asks to wait 3600 seconds"):
        site.search("ink")
    assert not waits


def test_downloads_are_tried_again_as_well(
    fake: FakeSite, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(1, CONTENT)
    version = site.version(read_reference("10"))
    monkeypatch.setattr(site, "version", lambda _: version)
    fake.statuses = [(503, {}), (429, {"Retry-After": "2"})]
    assert get(site, tmp_path).read_bytes() == CONTENT
    fake.documents[1]["files"][0]["downloadUrl"] = f"{fake.url}/nowhere"


def test_a_site_that_is_not_there_is_told(waits: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = r"127\.0\.0\.1 cannot be reached \(.*refused"
    with (
        Web(f"http://127.0.0.1:{port}", sleep=waits.append) as web,
        pytest.raises(DownloadError, match=said),
    ):
        Site(web).search("ink")
    assert waits == [1, 2, 4]


@pytest.mark.parametrize(
    "answer", [[], {}, {"items": 5}, None, "x", {"id": "x"}, {"id": True}, {"id": -1}, {"id": 1}]
)
def test_odd_answers_are_one_line(
    fake: FakeSite, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Any
) -> None:
    monkeypatch.setattr(site.web, "json", lambda *_: answer)
    asks: list[Any] = [lambda: site.search("ink"), lambda: get(site, tmp_path)]
    asks.append(lambda: site.version(read_reference("0123456789")))
    for ask in asks:
        try:
            ask()
        except DownloadError as error:
            assert len(str(error).splitlines()) == 1


def test_answers_are_bounded(fake: FakeSite, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add(1, CONTENT, name="x" * 5000)
    monkeypatch.setattr(web_module, "_MOST_ANSWER", 1000)
    with pytest.raises(DownloadError, match="more than is ever needed"):
        site.search("ink")


def test_a_search_asks_as_documented(fake: FakeSite, site: Site) -> None:
    fake.add(1, CONTENT)
    fake.add(2, CONTENT, type_="LORA")
    fake.add(3, CONTENT, type_="LoCon")
    (found,) = site.search("ink", ("Hypernetwork",)).models
    assert (found.id, found.version, found.type, found.downloads) == (10, 1, "Hypernetwork", 7)
    assert (found.name, found.creator, found.base_model) == ("Ink", "someone", "SD 1.5")
    assert len(site.search("ink", ("LORA", "LoCon"), limit=100).models) == 2
    assert fake.seen[0].path == "/api/v1/models?query=ink&limit=20&nsfw=false&types=Hypernetwork"
    for limit in (0, 101):
        with pytest.raises(RequestError, match="limit is"):
            site.search("ink", limit=limit)
