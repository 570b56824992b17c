"""What a server refuses to be told."""

import pytest
from pydantic import ValidationError

from unveil.serve.settings import Settings, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert Settings(host=host).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "photos.example.com"])
def test_any_other_host_demands_a_token_and_says_so(host: str) -> None:
    with pytest.raises(ValidationError, match="--token"):
        Settings(host=host)
    assert Settings(host=host, token="long-enough").host == host


@pytest.mark.parametrize("token", ["short", "with space", "ümlaut-token", ""])
def test_a_token_that_cannot_be_sent_or_is_short_is_refused(token: str) -> None:
    with pytest.raises(ValidationError):
        Settings(token=token)


def test_the_token_is_not_shown() -> None:
    assert "secret-token" not in repr(Settings(token="secret-token"))


@pytest.mark.parametrize("option", ["max_megapixels", "max_bytes", "queue", "timeout_s", "threads"])
def test_limits_are_positive(option: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({option: 0})
