"""The room's public names, and those of its earlier place."""

import unveil.batch
import unveil.inference.batch
import unveil.inference.plan


def test_public_names_are_found_in_the_room_and_where_they_were() -> None:
    for name in unveil.batch.__all__:
        found = getattr(unveil.batch, name)
        assert found.__name__ in (name, "plan")
    assert unveil.inference.batch.restore_files is unveil.batch.restore_files
    assert unveil.inference.plan.plan is unveil.batch.plan
    assert not hasattr(unveil.batch, "no_such_name")
