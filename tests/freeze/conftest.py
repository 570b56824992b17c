"""What users touch, compared with a record; `script/freeze` records anew."""

import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

RECORDS = Path(__file__).parent / "records"

Frozen = Callable[[str, Any], None]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run on one thread, because the number of threads decides the last bits of a float sum."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recording(request: pytest.FixtureRequest) -> bool:
    """Whether this run writes the records instead of comparing with them."""
    return bool(request.config.getoption("--record"))


@pytest.fixture
def frozen(recording: bool) -> Frozen:
    """Compare a JSON value with its record, line by line."""

    def compare(name: str, value: Any) -> None:
        path = RECORDS / f"{name}.json"
        now = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        if recording:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(now, encoding="utf-8")
            return
        before = path.read_text(encoding="utf-8")
        if now != before:
            lines = difflib.unified_diff(
                before.splitlines(), now.splitlines(), "recorded", "now", n=2, lineterm=""
            )
            shown = "\n".join(list(lines)[:60])
            pytest.fail(f"{name} changed; if on purpose, run script/freeze\n{shown}", pytrace=False)

    return compare
