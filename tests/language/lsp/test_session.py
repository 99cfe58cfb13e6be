"""The language server over standard input and output, as an editor meets it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptengine.cli.main import main
from tests.language.lsp.client import Client

URI = "file:///prompt.txt"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("lsp") / "models"
    for name in ("hypernetworks/ink.pt", "Lora/inkwell.safetensors"):
        path = models / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    return models


@pytest.fixture
def client(models: Path) -> Iterator[Client]:
    with Client("--stdio", "--models", str(models)) as client:
        yield client


def at(line: int, character: int, **more: Any) -> dict[str, Any]:
    place = {"line": line, "character": character}
    return {"textDocument": {"uri": URI}, "position": place, **more}


def spread(first: tuple[int, int], last: tuple[int, int]) -> dict[str, Any]:
    start, end = ({"line": line, "character": place} for line, place in (first, last))
    return {"start": start, "end": end}


def actions(client: Client, place: dict[str, Any], **context: Any) -> list[dict[str, Any]]:
    params = {"textDocument": {"uri": URI}, "range": place}
    return client.ask(
        "textDocument/codeAction", params | {"context": {"diagnostics": [], **context}}
    )


@pytest.mark.slow
def test_a_session(client: Client) -> None:
    can = client.initialize()
    assert can["hoverProvider"]
    assert can["documentFormattingProvider"]
    assert can["semanticTokensProvider"]["full"]
    assert "<" in can["completionProvider"]["triggerCharacters"]

    assert client.open(URI, "a cat") == []
    (found,) = client.change(URI, "🐱 (cat:1.3) ,x\n<hypernet:imk:1>")
    assert found["code"] == "unknown-network"
    assert found["severity"] == 2
    assert found["source"] == "promptengine"
    assert found["range"] == spread((1, 0), (1, 16))

    listed = client.ask("textDocument/completion", at(1, 11))
    assert [one["label"] for one in listed["items"]] == ["ink"]
    (item,) = listed["items"]
    assert item["textEdit"]["newText"] == "<hypernet:ink:${1:1}>"
    assert item["filterText"] == "<hypernet:i"
    assert item["textEdit"]["range"]["start"] == {"line": 1, "character": 0}

    told = client.ask("textDocument/hover", at(0, 5))
    assert told["contents"]["value"] == "weight 1.3"
    assert told["range"] == spread((0, 4), (0, 7))

    tokens = client.ask("textDocument/semanticTokens/full", {"textDocument": {"uri": URI}})["data"]
    types = can["semanticTokensProvider"]["legend"]["tokenTypes"]
    first = [tokens[place : place + 5] for place in range(0, 25, 5)]
    assert [(one[:3], types[one[3]], one[4]) for one in first] == [
        ([0, 3, 1], "operator", 0),
        ([0, 1, 3], "string", 1),
        ([0, 3, 1], "operator", 0),
        ([0, 1, 3], "number", 0),
        ([0, 3, 1], "operator", 0),
    ]

    (edit,) = client.ask(
        "textDocument/formatting",
        {"textDocument": {"uri": URI}, "options": {"tabSize": 4, "insertSpaces": True}},
    )
    assert edit["newText"] == "🐱 (cat:1.3), x\n<hypernet:imk:1>"
    assert edit["range"] == spread((0, 0), (1, 16))

    (mend,) = actions(client, spread((1, 3), (1, 3)), only=["quickfix"])
    assert mend["title"] == "Use 'ink'"
    assert mend["diagnostics"][0]["code"] == "unknown-network"
    up, down = actions(client, spread((0, 5), (0, 5)), only=["refactor.rewrite"])
    assert up["edit"]["changes"][URI][0]["newText"] == "(cat:1.4)"
    assert down["edit"]["changes"][URI][0]["newText"] == "(cat:1.2)"
    assert up["edit"]["changes"][URI][0]["range"] == spread((0, 3), (0, 12))

    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert client.told("textDocument/publishDiagnostics")["diagnostics"] == []
    assert client.ask("textDocument/hover", at(0, 5)) is None
    assert client.ask("shutdown") is None
    client.notify("exit", None)
    assert client.process.wait(60) == 0
    assert client.errors == ""


@pytest.mark.slow
def test_options_are_taken_and_wrong_ones_refused(client: Client, tmp_path: Path) -> None:
    answer = client.request("initialize", _start({"dialect": "klingon"}))
    assert "klingon" in answer["error"]["message"]
    answer = client.request("initialize", _start({"dialekt": "webui"}))
    assert "dialekt" in answer["error"]["message"]
    client.initialize(dialect="novelai", ignored_diagnostics=["unclosed-bracket"])
    assert client.open(URI, "{a 1.5::b::") == []
    setting = {"promptengine": {"dialect": "webui", "ignored_diagnostics": []}}
    client.notify("workspace/didChangeConfiguration", {"settings": setting})
    found = client.told("textDocument/publishDiagnostics")["diagnostics"]
    assert "novelai-syntax" in [one["code"] for one in found]
    client.notify("workspace/didChangeConfiguration", {"settings": {"steps": 0}})
    assert "steps is 0" in client.told("window/showMessage")["message"]
    elsewhere = {"models": str(tmp_path), "dialect": "webui"}
    client.notify("workspace/didChangeConfiguration", {"settings": elsewhere})
    client.told("textDocument/publishDiagnostics")
    (found,) = client.change(URI, "<hypernet:ink:1>")
    assert "unknown hypernetwork 'ink'" in found["message"]
    assert "Traceback" not in client.errors


def _start(options: object) -> dict[str, Any]:
    begin: dict[str, Any] = {"processId": None, "rootUri": None, "capabilities": {}}
    return begin | {"initializationOptions": options}


@pytest.mark.slow
def test_hostile_messages_end_nothing(client: Client) -> None:
    client.initialize()
    client.raw(b"{not json")
    client.raw(b"[" * 100_000)
    client.raw(b'{"jsonrpc": "2.0"}')
    client.notify("textDocument/didChange", {"textDocument": {"uri": "file:///none"}})
    client.notify("nothing/known", {"a": 1})
    assert "error" in client.request("nothing/known", {})
    client.notify("textDocument/hover", {"textDocument": 5})
    assert client.ask("textDocument/hover", at(0, 0)) is None
    (found,) = client.open(URI, "(" * 200_000)
    assert "200000 characters" in found["message"]
    for method in ("hover", "completion", "formatting", "semanticTokens/full"):
        more = {"options": {"tabSize": 4, "insertSpaces": True}}
        assert "error" not in client.request(f"textDocument/{method}", at(0, 150_000) | more)
    assert client.change(URI, "(" * 50_000 + "|[:" * 10_000)
    client.change(URI, "a (cat:1.3)\ud800\u2028\x0b\r\n🐱")
    client.notify("textDocument/hover", at(-1, -5))
    for place in ((99, 99), (0, 99), (2**31 - 1, 2**31 - 1), (1, 1)):
        for method in ("hover", "completion"):
            assert "error" not in client.request(f"textDocument/{method}", at(*place))
    assert isinstance(actions(client, spread((9, 9), (0, 0))), list)
    assert client.ask("textDocument/hover", at(0, 4))["contents"]["value"] == "weight 1.3"
    assert client.ask("shutdown") is None


def test_without_the_extra_the_error_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *more: None if name == "pygls" else real(name, *more),
    )
    assert main(["language-server"]) == 2
    assert "pip install 'promptengine[lsp]'" in capsys.readouterr().err
