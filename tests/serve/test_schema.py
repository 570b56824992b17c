"""The OpenAPI document is kept to, whatever is sent: schemathesis finds nothing."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import strategies
from tests.serve.conftest import WAIT_S, photo, server_process

# Its import reaches into parts of other libraries that these have deprecated.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    schemathesis = pytest.importorskip("schemathesis")

_PHOTOS = [photo((9, 7)), photo((9, 7), "JPEG"), photo((9, 7), seed=1)]


@pytest.fixture(scope="module")
def url(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A process of its own: Hypothesis parses source files, NumPy the heads of arrays.

    Python 3.11 fails where two threads of one process do so at once.
    """
    with server_process(tmp_path_factory.mktemp("schema"), tiny_weights) as (_, found):
        yield found


@pytest.fixture(scope="module")
def document(url: str) -> Any:
    """What the server says of itself, with uploads drawn from real images.

    What a schema cannot say is left out: which network does which task, which words are a
    degradation, that two pictures must be of one size.
    """
    raw = httpx.get(f"{url}openapi.json", trust_env=False, timeout=WAIT_S).json()
    binary = {"type": "string", "format": "binary"}
    schemas = raw["components"]["schemas"]
    for form in ("RestoreForm", "InspectForm", "DegradeForm", "ScoreForm", "ResultForm"):
        for name in {"image", "reference", "mask"} & schemas[form]["properties"].keys():
            schemas[form]["properties"][name] = binary
    schemas["JobForm"]["properties"]["image"] |= {"items": binary}
    schemas["DegradeForm"]["properties"]["degradation"]["enum"] = ["noise:sigma_255=9", "identity"]
    for form in ("RestoreForm", "RunForm", "JobForm"):
        schemas[form]["properties"]["task"]["enum"] = ["auto", "denoise"]
        model = schemas[form]["properties"]["model"]
        for part in (model, *model.get("anyOf", ())):
            if "enum" in part:
                part["enum"] = [name for name in part["enum"] if not name.endswith("_deblur")]
    schemathesis.openapi.format("binary", strategies.sampled_from(_PHOTOS))
    return schemathesis.openapi.from_dict(raw)


def _check(document: Any, url: str, examples: int) -> Counter[tuple[str, int]]:
    """Send what the document allows, then what it does not; count answers by path and status."""
    answers: Counter[tuple[str, int]] = Counter()
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    for found in document.get_all_operations():
        operation = found.ok()
        for mode in modes:
            if mode is modes[1] and not operation.body:
                continue

            @hypothesis.settings(
                max_examples=examples,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def test(case: Any) -> None:
                hypothesis.assume(_can_be_sent(case.body))
                answer = case.call_and_validate(base_url=url, timeout=WAIT_S)
                answers[case.path, answer.status_code] += 1

            test()
    return answers


def _can_be_sent(body: object) -> bool:
    """Whether a form tells it from what is allowed.

    Null and empty lists are no field at all; 0 and 1 are words for booleans.
    """
    fields = body.items() if isinstance(body, dict) else ()
    return not any(
        value is None
        or isinstance(value, list | dict)
        or (name in ("start", "ensemble") and value in (0, 1))
        for name, value in fields
        if name != "image" and not isinstance(value, bool)
    )


def _did_something(answers: Counter[tuple[str, int]]) -> None:
    assert {path for path, _ in answers} >= {
        "/v1/restore",
        "/v1/inspect",
        "/v1/models",
        "/v1/jobs",
        "/v1/jobs/{job}/start",
        "/v1/degrade",
        "/v1/score",
        "/v1/samples",
        "/healthz",
        "/metrics",
    }
    assert answers["/v1/restore", 200] > 0
    assert answers["/v1/restore", 422] > 0


def test_few_examples_find_nothing(document: Any, url: str) -> None:
    _did_something(_check(document, url, 6))


@pytest.mark.slow
def test_many_examples_find_nothing(document: Any, url: str) -> None:
    _did_something(_check(document, url, 200))
