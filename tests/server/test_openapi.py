"""Everything that the OpenAPI document allows, asked by schemathesis: no answer is a server's fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from promptengine.server.app import create_app
from promptengine.server.config import Limits, ServerConfig
from promptengine.server.v1.routes import PREFIX
from tests.server.live import Painter, running

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("document")
    (folder / "Stable-diffusion").mkdir()
    (folder / "Stable-diffusion" / "none.safetensors").write_bytes(b"")
    painter = Painter()
    painter.gate.set()
    limits = Limits(pixels=512 * 512, total_images=4)
    config = ServerConfig(models=folder, output=folder / "outputs", limits=limits)
    app = create_app(config, [painter])
    with running(app) as url:
        # Events of all jobs have no end that an answer could be judged by.
        schema = schemathesis.openapi.from_dict(app.openapi()).exclude(path=f"{PREFIX}/events")
        schema.config.update(base_url=url)
        yield schema


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_is_a_server_error(schema: Any, mode: GenerationMode) -> None:
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=6,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=CHECKS, timeout=120)

        try:
            ask()
        except Unsatisfiable:
            # A route without parameters has no wrong ones.
            continue
    assert asked > 100
