"""What clients of the server's routes of Civitai ask, and the names of these."""

from __future__ import annotations

from typing import Any

import httpx

from tests.server.live import until

CIVITAI = "/promptengine/v1/civitai"
NETWORKS = "/promptengine/v1/networks"
TOKEN = "s3cret-token-of-the-server"
EVIL_PAGE = {"Origin": "https://evil.example"}
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


def found(http: httpx.Client, text: str = "ink", **form: Any) -> list[dict[str, Any]]:
    answer = http.post(f"{CIVITAI}/search", json={"text": text, **form})
    assert answer.status_code == 200, answer.text
    assert TOKEN not in answer.text
    return answer.json()["models"]


def begin(http: httpx.Client, version: int = 1, **form: Any) -> str:
    answer = http.post(f"{CIVITAI}/downloads", json={"version": version, **form})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def told(http: httpx.Client, id_: str) -> dict[str, Any]:
    answer = http.get(f"{CIVITAI}/downloads")
    assert TOKEN not in answer.text
    return next(one for one in answer.json() if one["id"] == id_)


def ended(http: httpx.Client, id_: str) -> dict[str, Any]:
    until(lambda: told(http, id_)["state"] not in ("waiting", "downloading", "stopping"), 30)
    return told(http, id_)


def preview(http: httpx.Client, model: dict[str, Any]) -> httpx.Response:
    return http.get(f"{CIVITAI}/previews/{model['preview']}")
