"""What `unveil restore` does with clips."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

_LOG_SECONDS = 30

if TYPE_CHECKING:
    from unveil.batch.outcome import Outcome
    from unveil.inference.restorer import Restorer


def targets(clips: Sequence[Path], output: Path | None, name: str) -> list[Path]:
    """Return where the results of clips go.

    Args:
        clips: The clips.
        output: Folder, or file for a single clip; None puts results beside the clips.
        name: Template of the results' names.

    Raises:
        BadParameter: Several clips would go into one file, or one onto itself.
    """
    from unveil.batch.jobs import VIDEO_SUFFIXES

    if output is not None and output.suffix.lower() in VIDEO_SUFFIXES and not output.is_dir():
        if len(clips) > 1:
            raise typer.BadParameter(f"output {output}: names a file, but there are several clips")
        return [output]
    named = [name.format(stem=clip.stem, ext=clip.suffix) for clip in clips]
    made = [(output or clip.parent) / new for clip, new in zip(clips, named, strict=True)]
    if len(set(made)) < len(made) or any(a == b for a, b in zip(made, clips, strict=True)):
        raise typer.BadParameter("clips would overwrite each other: give another --name")
    return made


def restore_clips(
    restorer: "Restorer", clips: Sequence[Path], places: Sequence[Path], **options: Any
) -> "Iterator[Outcome]":
    """Restore clips one after the other, with progress on stderr; a failure stops none of them.

    Args:
        restorer: Network and options.
        clips: The clips.
        places: Their results.
        options: As of `unveil.batch.video.restore_video`.
    """
    from unveil.batch.outcome import Outcome
    from unveil.batch.video import restore_video
    from unveil.errors import UnveilError
    from unveil.imaging.atomic import make_folder

    for clip, place in zip(clips, places, strict=True):
        start = time.monotonic()
        advance = _Advance(clip.name)
        try:
            make_folder(place.parent)
            made = restore_video(restorer, clip, place, progress=advance, **options)
        except (UnveilError, OSError) as error:
            yield Outcome(clip, place, "failed", " ".join(str(error).split()))
            continue
        megapixels = made.frames * made.width * made.height / 1e6
        seconds = time.monotonic() - start
        typer.echo(f"{clip.name}: {made.frames / seconds:.2f} frames/s", err=True)
        yield Outcome(clip, place, "restored", "", megapixels, seconds)


class _Advance:
    """Prints progress on stderr, twice a minute."""

    def __init__(self, name: str) -> None:
        self.name, self.printed = name, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.printed > _LOG_SECONDS:
            self.printed = time.monotonic()
            of = f" of {total}" if total else ""
            typer.echo(f"{self.name}: {done}{of} frames", err=True)
