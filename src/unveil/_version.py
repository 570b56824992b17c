"""The version of the package, read by the build, and those of libraries."""

__version__ = "0.2.0"


def library_version(name: str) -> str | None:
    """Return the version of an installed library; None where it is not installed."""
    # Takes longer to import than all else that `import unveil` does.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version(name)
    except PackageNotFoundError:
        return None
