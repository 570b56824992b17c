"""What the site adds to MkDocs: the list of decisions, and docstrings' examples as code blocks."""

import re
from pathlib import Path
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """List the decisions on their page."""
    if page.file.src_uri != "decisions/index.md":
        return markdown
    folder = Path(page.file.abs_src_path).parent
    titles = [(p.name, p.read_text(encoding="utf-8").split("\n")[0]) for p in folder.glob("0*.md")]
    lines = [f"- [{title.lstrip('# ')}]({name})" for name, title in sorted(titles)]
    return markdown + "\n" + "\n".join(lines) + "\n"


class Examples(griffe.Extension):
    """Fence the examples of docstrings, which Markdown would read as quotations."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence one docstring's examples."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(match: re.Match[str]) -> str:
    indent = match[1]
    return f"{indent}```pycon\n{match[0]}\n{indent}```"
