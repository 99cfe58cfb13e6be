"""What ``promptengine serve`` refuses before it loads anything, and where it takes passwords from."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
import trustme

from promptengine.cli.main import main
from promptengine.server import run as serving
from promptengine.server.config import ServerConfig
from promptengine.server.sockets import bound_sockets

pytestmark = pytest.mark.usefixtures("nothing_loads")


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets as far as loading models has not been refused."""

    def loaded(*_arguments: object) -> None:
        raise AssertionError("models would be loaded now")

    monkeypatch.setattr("promptengine.server.app.open_service", loaded)
    monkeypatch.delenv("PROMPTENGINE_API_AUTH", raising=False)


@pytest.fixture
def files(tmp_path: Path, empty_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").symlink_to(empty_models)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "users").write_text("ann:se,cret\r\n\nbob: b:c \n", encoding="utf-8-sig")
    (tmp_path / "nobody").write_text("\n", encoding="utf-8")
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "other.key")
    encrypt = [
        "openssl",
        "genrsa",
        "-aes256",
        "-passout",
        "pass:word",
        "-out",
        "locked.key",
        "2048",
    ]
    subprocess.run(encrypt, check=True, capture_output=True)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The settings that servers are started with."""
    asked: list[ServerConfig] = []
    monkeypatch.setattr(serving, "serve", lambda config, _extend: asked.append(config))
    return asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--port 99999", "--port 99999: write a number from 0 to 65535"),
        ("--port=-1", "--port -1: write"),
        ("--host 192.0.2.1", "--port 7860: 192.0.2.1 cannot be listened at"),
        ("--models gone", "--models: no such folder: gone"),
        ("--models file", "--models: no such folder: file"),
        ("--models models --checkpoint gone", "--models: no such folder: models"),
        ("-o file", "--output file: file is a file"),
        ("-o file/x", "--output file/x: file is a file"),
        ("--tls-keyfile file", "--tls-keyfile needs --tls-certfile"),
        ("--tls-certfile gone", "--tls-certfile: no such file: gone"),
        ("--tls-certfile cert.pem --tls-keyfile gone", "--tls-keyfile: no such file: gone"),
        ("--tls-certfile file", "--tls-certfile file: certificate and key cannot be used"),
        ("--tls-certfile cert.pem --tls-keyfile other.key", "cannot be used (KEY_VALUES_MISMATCH)"),
        ("--tls-certfile cert.pem --tls-keyfile locked.key", "the key asks for a password"),
        ("--subpath sd", "--subpath 'sd'"),
        ("--subpath /sdapi", "--subpath /sdapi: the server's own paths"),
        ("--allowed-hosts *", "--allowed-hosts '*'"),
        ("--cors-allow-origins-regex (", "--cors-allow-origins-regex '('"),
        ("--api-auth me", "--api-auth: write NAME:PASSWORD"),
        ("--api-auth=", "--api-auth: write NAME:PASSWORD"),
        ("--api-auth-file gone", "--api-auth-file gone: No such file"),
        ("--api-auth-file nobody", "--api-auth-file nobody: write NAME:PASSWORD"),
        ("--api-auth-file users --api-auth a:b", "--api-auth and --api-auth-file both name users"),
    ],
)
@pytest.mark.usefixtures("files")
def test_mistakes_are_one_line(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = [] if "--models" in arguments else ["--models", "m"]
    usual += [] if "--port" in arguments or "--host" in arguments else ["--port", "0"]
    assert main(["serve", *usual, *arguments.split(" ")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("promptengine: error: ")
    assert said.count("\n") == 1


@pytest.mark.usefixtures("files")
def test_a_taken_port_is_found_first(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--models", "m", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"--port {port}: 127.0.0.1 cannot be listened at there: Address already in use" in said


def test_a_name_may_have_several_addresses() -> None:
    sockets = bound_sockets("localhost", 0)
    assert len({own.getsockname()[1] for own in sockets}) == 1
    assert {own.family for own in sockets} <= {socket.AF_INET, socket.AF_INET6}
    for own in sockets:
        own.close()


@pytest.mark.parametrize(
    ("arguments", "variable", "users"),
    [
        ([], None, ()),
        (["--api-auth", "a:b, c:d:e"], None, (("a", "b"), ("c", "d:e"))),
        ([], "a:b,c:d", (("a", "b"), ("c", "d"))),
        (["--api-auth-file", "users"], None, (("ann", "se,cret"), ("bob", " b:c "))),
        (["--api-auth", "a:b"], "a:b", None),
        (["--api-auth-file", "users"], "a:b", None),
        ([], "", None),
    ],
)
@pytest.mark.usefixtures("files")
def test_passwords(
    arguments: list[str],
    variable: str | None,
    users: tuple[tuple[str, str], ...] | None,
    asked: list[ServerConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable is not None:
        monkeypatch.setenv("PROMPTENGINE_API_AUTH", variable)
    status = main(["serve", "--models", "m", *arguments])
    if users is None:
        assert (status, asked) == (2, [])
    else:
        assert [config.users for config in asked] == [users]
        assert "users" not in repr(asked)


@pytest.mark.usefixtures("files")
def test_what_the_options_say_is_what_is_served(asked: list[ServerConfig]) -> None:
    options = "--allowed-hosts a.example,b:1 --subpath /sd/ --tls-certfile cert.pem"
    assert main(["serve", "--models", "m", *options.split(" ")]) == 0
    (config,) = asked
    assert config.allowed_hosts == ("a.example", "b:1")
    assert (config.subpath, config.tls_certfile, config.tls_keyfile) == (
        "/sd",
        Path("cert.pem"),
        None,
    )
