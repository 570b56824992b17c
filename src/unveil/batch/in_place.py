"""Restore photos in place: the original stays beside the result, under another name."""

import errno
import os
import shutil
from pathlib import Path

from unveil.batch.journal import Journal, content_hash
from unveil.errors import OutputError
from unveil.imaging.atomic import replacing

# A file system without links says so in one of these ways.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


def backup_name(source: Path) -> Path:
    """Return where the original of `source` stays.

    >>> backup_name(Path("a/photo.small.JPG")).name
    'photo.small.original.JPG'
    """
    return source.with_name(f"{source.stem}.original{source.suffix}")


def unrestored(source: Path, backup: Path, journal: Journal, force: bool) -> Path | None:
    """Return the file that holds the original; None where the photo has been restored in place.

    Args:
        source: The photo.
        backup: Where its original stays.
        journal: Of the folder.
        force: Restore the original again.

    Raises:
        OutputError: If there is another file at `backup`.
    """
    if not os.path.lexists(backup):
        return source
    if not journal.is_original(backup):
        raise OutputError(f"{backup}: exists; move it away, for it is where the original goes")
    if force:
        return backup
    # A run that was killed may have set the original aside and not yet replaced it.
    same = os.path.samefile(source, backup) or content_hash(source) == content_hash(backup)
    return source if same else None


def set_aside(source: Path, backup: Path, journal: Journal) -> None:
    """Give the file `source` the further name `backup`; at no time is it without a name.

    Args:
        source: The photo.
        backup: Its further name.
        journal: Of the folder; the name is noted there first.

    Raises:
        OutputError: If it cannot be done; then nothing has changed.
    """
    if os.path.lexists(backup):
        return
    journal.keep(backup)
    try:
        os.link(source, backup)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise OutputError(f"{backup}: cannot be made: {error.strerror or error}") from error
        _copy(source, backup)


def _copy(source: Path, backup: Path) -> None:
    with replacing(backup) as temporary:
        shutil.copy2(source, temporary)
