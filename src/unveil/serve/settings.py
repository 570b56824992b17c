"""Options of a server: address, access and limits."""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Settings(BaseModel):
    """Options of a server, validated.

    Attributes:
        host: Address it listens on.
        port: Port it listens on; 0 takes a free one.
        token: Secret that clients give. Needed on any address but loopback.
        max_megapixels: Larger images are refused.
        max_bytes: Larger uploads are refused.
        queue: Images that may wait while one is being restored.
        timeout_s: Seconds after which a request, or a job's run, is given up.
        keep_s: Seconds that unused files are kept.
        keep_bytes: Above this total, unused files go earlier, the oldest first.
        threads: Of the network; None leaves the choice to torch.
        device: As `unveil.Restorer`.
        allowed_hosts: More names this server is known by, such as a reverse proxy's.
        root_path: Path prefix under which a reverse proxy shows the server, and which it removes.
        models: Weights files that are offered beside the bundled ones, and preferred.

    >>> Settings(port=8000).host
    '127.0.0.1'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=7860, ge=0, le=65535)
    token: str | None = Field(default=None, min_length=8, pattern=r"^[!-~]+$", repr=False)
    max_megapixels: float = Field(default=100.0, gt=0)
    max_bytes: int = Field(default=200 * 2**20, gt=0)
    queue: int = Field(default=16, ge=1)
    timeout_s: float = Field(default=600.0, gt=0)
    keep_s: float = Field(default=900.0, gt=0)
    keep_bytes: int = Field(default=8 * 2**30, gt=0)
    threads: int | None = Field(default=None, ge=1)
    device: str = "auto"
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    models: tuple[Path, ...] = ()

    @property
    def local(self) -> bool:
        """Whether only this machine reaches the server; a proxy lets others in."""
        return is_loopback(self.host) and not self.allowed_hosts and not self.root_path

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not is_address(name) and (not name or hostname(name) != name.lower()):
                raise ValueError(f"{name!r} is no plain name; leave out http:// and the port")
        return names

    @model_validator(mode="after")
    def _guarded(self) -> "Settings":
        if self.token is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached by others, so a token is needed: give --token or "
                "set UNVEIL_TOKEN, or keep to 127.0.0.1"
            )
        return self


def hostname(netloc: str) -> str:
    """Return the name in ``name:port``, lower case; empty where there is none.

    >>> hostname("Photos.local:8443"), hostname("http://photos.local")
    ('photos.local', 'http')
    """
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`.

    >>> is_loopback("127.0.0.2"), is_loopback("0.0.0.0")
    (True, False)
    """
    return host in LOOPBACK_NAMES or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """Tell whether `host` is an IP address rather than a name.

    >>> is_address("::1"), is_address("localhost")
    (True, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
