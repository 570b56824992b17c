"""Times and sizes are read as people write them."""

import pytest

from unveil.errors import RecipeError
from unveil.training.units import Duration, MemorySize, format_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("1h30m", 5400), ("2 h", 7200), (".5d", 43200), ("10min", 600), ("1.5s", 1.5)],
)
def test_durations(text, seconds):
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "1h and 3m", "-5m", "0s", "3 fortnights"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(RecipeError, match=r"length of time"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("800mb", 8 * 10**8), ("64B", 64)],
)
def test_sizes(text, size):
    assert MemorySize.parse(text) == size


@pytest.mark.parametrize("text", ["", "2", "GB", "-1GB", "0GB", "2 potatoes", "1GB 2MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(RecipeError, match="amount of memory"):
        MemorySize.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.6, "1m00s"), (61, "1m01s"), (3599.9, "1h00m"), (7260, "2h01m")],
)
def test_times_are_spelled_shortly(seconds, text):
    assert format_seconds(seconds) == text
