"""The room's public names."""

import unveil.batch


def test_public_names_are_found_in_the_room() -> None:
    for name in unveil.batch.__all__:
        assert getattr(unveil.batch, name).__name__ in (name, "plan")
    assert not hasattr(unveil.batch, "no_such_name")
