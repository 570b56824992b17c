"""Scores kept on disk as they come, so that a killed evaluation goes on where it was."""

import json
from pathlib import Path
from typing import Any

from unveil.bounded import parse_json, require_regular
from unveil.errors import DataError, OutputError
from unveil.evaluation.report import ImageScore, score_from_json, score_to_json
from unveil.imaging.atomic import write_text

_FILE = "images.jsonl"


class ScoreJournal:
    """A folder with one line per image; the first line says of which run."""

    def __init__(self, folder: Path, run: dict[str, Any], *, force: bool = False) -> None:
        """Open or start the journal.

        Args:
            folder: Made when missing.
            run: What must be equal for old scores to count.
            force: Throw another run's scores away.

        Raises:
            OutputError: The folder holds another run and `force` is not set, or cannot be written.
        """
        self._path = folder / _FILE
        self.scores: dict[tuple[str, str], ImageScore] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines: list[str] = []
            if self._path.exists():
                require_regular(self._path)
                lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
            if lines and not force and _parse(lines[0]) != run:
                raise OutputError(
                    f"{folder} holds another evaluation: name another folder or give --force"
                )
            scores = {} if force else {line: _score(line) for line in lines[1:]}
            kept = [line for line, found in scores.items() if found is not None]
            # Rewritten whole, which drops a line torn by a kill.
            write_text(self._path, "\n".join([json.dumps(run), *kept]) + "\n")
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
        for found in filter(None, scores.values()):
            case, score = found
            self.scores[case, score.name] = score

    def add(self, case: str, score: ImageScore) -> None:
        """Append an image's score and hand it to the system.

        Args:
            case: Key of its case.
            score: Of the image.
        """
        self.scores[case, score.name] = score
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"case": case, **score_to_json(score)}) + "\n")


def _parse(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _score(line: str) -> tuple[str, ImageScore] | None:
    """Return case and score of a line; None for one that was torn, or is no score."""
    plain = _parse(line)
    case = plain.pop("case", None) if isinstance(plain, dict) else None
    try:
        return (case, score_from_json(plain)) if isinstance(case, str) else None
    except DataError:
        return None
