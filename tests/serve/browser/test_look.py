"""axe-core finds nothing, at both sizes, in light and dark, in every state of the page."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.serve.browser.conftest import (
    DESKTOP,
    PHONE,
    Site,
    dropped,
    opened,
    restored,
    sync_api,
    watching,
)
from tests.serve.conftest import photo

axe = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python (extra dev)")
_AXE = (Path(axe.__file__).parent / "axe.min.js").read_text()


def violations(page: Any) -> list[str]:
    """Return what axe-core finds on the page."""
    page.evaluate(_AXE)
    found = page.evaluate("() => axe.run()")["violations"]
    return [
        f"{v['id']}: {json.dumps([(n['html'][:200], n['failureSummary']) for n in v['nodes']])}"
        for v in found
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(browser: Any, site: Site, scheme: str, viewport: Any) -> None:
    options = {"color_scheme": scheme, "viewport": viewport}
    with watching(browser, site.url, **options) as (context, seen):
        page = context.new_page()
        seen.expected.append("422")
        opened(page, site.url)
        assert violations(page) == []
        dropped(page, ("a.png", photo()), ("b.png", photo(seed=1)), ("bad.txt", b"hello"))
        sync_api.expect(page.locator(".problems li")).to_have_count(1)
        assert violations(page) == []
        restored(page)
        for summary in page.locator("summary").all():
            summary.click()
        page.get_by_role("button", name="Brush over parts that stay").click()
        assert violations(page) == []
        page.get_by_role("tab", name="Degrade").click()
        page.locator("[data-sample=cat]").click()
        page.locator(".scores").wait_for()
        assert violations(page) == []
        for path in ("docs",):
            page.goto(site.url + path)
            assert violations(page) == []
        assert seen.errors == []
