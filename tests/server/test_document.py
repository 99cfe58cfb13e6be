"""Everything that the OpenAPI document allows, asked by schemathesis: no answer is a server's fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from promptengine.server.app import create_app
from promptengine.server.config import Limits, ServerConfig
from tests.server.live import Painter, running

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def document(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[schemathesis.BaseSchema]:
    folder = tmp_path_factory.mktemp("document")
    (folder / "Stable-diffusion").mkdir()
    (folder / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    painter = Painter()
    painter.gate.set()
    limits = Limits(pixels=512 * 512, pictures=4)
    config = ServerConfig(models=folder, output=folder / "outputs", limits=limits)
    with running(create_app(config, [painter])) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.exclude(path_regex="events").parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_a_server_error(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS, timeout=30)
