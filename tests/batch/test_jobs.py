"""What is restored, in which order, and where results go."""

import os
from pathlib import Path

import pytest

from unveil.batch.jobs import (
    Plan,
    comparison_name,
    find_images,
    plan,
)
from unveil.batch.journal import Journal
from unveil.errors import InputError
from unveil.imaging.formats import format_named
from unveil.inference.naming import DEFAULT_NAME, Naming


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _pairs(made: Plan, root: Path) -> list[tuple[str, str]]:
    return [(str(j.source.relative_to(root)), str(j.target.relative_to(root))) for j in made.jobs]


def test_results_lie_beside_their_inputs(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.PNG")
    made = plan([tmp_path / "a.jpg", tmp_path / "b.PNG"])
    assert _pairs(made, tmp_path) == [("a.jpg", "a.restored.jpg"), ("b.PNG", "b.restored.PNG")]


def test_a_folder_is_flat_unless_recursive_and_keeps_its_tree(tmp_path: Path) -> None:
    _touch(tmp_path, "in/a.jpg", "in/x/b.png", "in/x/y/c.tif", "in/notes.txt", "in/.hidden/d.png")
    flat = plan([tmp_path / "in"], output=tmp_path / "out")
    assert _pairs(flat, tmp_path) == [("in/a.jpg", "out/a.restored.jpg")]
    deep = plan([tmp_path / "in"], output=tmp_path / "out", recursive=True)
    assert _pairs(deep, tmp_path) == [
        ("in/a.jpg", "out/a.restored.jpg"),
        ("in/x/b.png", "out/x/b.restored.png"),
        ("in/x/y/c.tif", "out/x/y/c.restored.tif"),
    ]
    assert not deep.failed


def test_patterns_are_expanded_and_files_named_twice_come_once(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg", "c.png", "[odd].jpg")
    made = plan([f"{tmp_path}/*.jpg", tmp_path / "a.jpg", f"{tmp_path}/[odd].jpg"])
    names = [job.source.name for job in made.jobs]
    assert sorted(names) == ["[odd].jpg", "a.jpg", "b.jpg"]
    assert len(plan([f"{tmp_path}/*.gif"]).failed) == 1


def test_results_of_an_earlier_run_are_not_restored_again(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "a.restored.jpg", "a.restored.jpg.compare.png", "b.png")
    made = plan([tmp_path])
    assert [job.source.name for job in made.jobs] == ["a.jpg", "b.png"]


def test_results_under_another_name_are_not_restored_again(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "a-x.png", "a-x.png.compare.png", "out/b-x.png")
    Journal().begin(tmp_path / "a-x.png", "key")
    Journal().begin(tmp_path / "out" / "b-x.png", "key")
    made = plan([tmp_path], recursive=True)
    assert _pairs(made, tmp_path) == [("a.jpg", "a.restored.jpg")]
    assert not made.failed


def test_a_folder_of_nothing_but_results_is_restored_further(tmp_path: Path) -> None:
    _touch(tmp_path, "step/a.restored.jpg")
    Journal().begin(tmp_path / "step" / "a.restored.jpg", "key")
    made = plan([tmp_path / "step"])
    assert [job.source.name for job in made.jobs] == ["a.restored.jpg"]


def test_the_output_folder_is_not_searched_unless_it_is_named(tmp_path: Path) -> None:
    _touch(tmp_path, "in/a.jpg", "in/out/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "in" / "out")
    for output in (tmp_path / "in" / "out", tmp_path / "link"):
        made = plan([tmp_path / "in"], output=output, recursive=True)
        assert [job.source.name for job in made.jobs] == ["a.jpg"]
    both = plan([tmp_path / "in", tmp_path / "in" / "out"], output=tmp_path / "in" / "out")
    assert [job.source.name for job in both.jobs] == ["a.jpg", "b.jpg"]


def test_one_input_may_name_its_output_file(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    assert plan([tmp_path / "a.jpg"], output=tmp_path / "z.png").jobs[0].target.name == "z.png"
    assert plan([tmp_path / "a.jpg"], output=tmp_path / "z").jobs[0].target.parent.name == "z"
    with pytest.raises(InputError, match="several inputs"):
        plan([tmp_path / "a.jpg", tmp_path / "b.jpg"], output=tmp_path / "z.png")
    with pytest.raises(InputError, match="several inputs"):
        plan([str(tmp_path / "*.jpg")], output=tmp_path / "z.png")
    assert len(plan([str(tmp_path / "a.*")], output=tmp_path / "z.png").jobs) == 1


def test_an_unset_variable_does_not_stand_for_the_whole_folder() -> None:
    with pytest.raises(InputError, match="an input is empty"):
        plan(["", "a.jpg"])


def test_formats_and_templates_make_the_names() -> None:
    source = Path("x/my.photo.JPG")
    assert Naming()(source) == "my.photo.restored.JPG"
    assert Naming(format=format_named("tiff"))(source) == "my.photo.restored.tif"
    assert Naming("{stem}_r.png")(source) == "my.photo_r.png"


@pytest.mark.parametrize("template", ["{stem}", "{0}.png", "{x}.png", "../{stem}{ext}", "{stem"])
def test_templates_that_make_no_file_name_are_refused(template: str) -> None:
    with pytest.raises(InputError, match="name "):
        Naming(template)


def test_names_that_contradict_the_format_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    tiff = format_named("tiff")
    with pytest.raises(InputError, match="makes a png file, but the format is to be tiff"):
        Naming("{stem}.png", tiff)
    with pytest.raises(InputError, match=r"r\.png: makes a png file, but the format is to be tiff"):
        plan([tmp_path / "a.jpg"], output=tmp_path / "r.png", naming=Naming(format=tiff))
    for name in ("r.tif", "r.TIFF"):
        made = plan([tmp_path / "a.jpg"], output=tmp_path / name, naming=Naming(format=tiff))
        assert made.jobs[0].target.name == name


def test_nothing_is_overwritten_by_accident(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "a.png", "b.png")
    made = plan([tmp_path], naming=Naming(DEFAULT_NAME, format_named("png")))
    assert [job.source.name for job in made.jobs] == ["a.jpg", "b.png"]
    assert "same name as that of" in str(made.failed[0][1])
    own = plan([tmp_path / "b.png"], naming=Naming("{stem}{ext}"))
    assert not own.jobs
    assert "would overwrite" in str(own.failed[0][1])


def test_no_result_goes_where_another_input_lies(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "a.png")
    made = plan([tmp_path], naming=Naming("{stem}{ext}", format_named("png")))
    assert not made.jobs
    reasons = [str(error) for _, error in made.failed]
    assert f"a.jpg: the result would overwrite {tmp_path / 'a.png'};" in reasons[0]
    assert "a.png: the result would overwrite it;" in reasons[1]


def test_inputs_are_known_through_linked_folders(tmp_path: Path) -> None:
    _touch(tmp_path, "in/a.jpg", "in/b/c.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    own = plan([tmp_path / "in"], output=tmp_path / "link", naming=Naming("{stem}{ext}"))
    assert not own.jobs
    assert "would overwrite it" in str(own.failed[0][1])
    twice = plan([tmp_path / "in", tmp_path / "link"])
    assert [job.source for job in twice.jobs] == [tmp_path / "in" / "a.jpg"]
    assert not twice.failed


def test_inputs_are_known_on_disks_that_ignore_case(tmp_path: Path) -> None:
    _touch(tmp_path, "a.JPG")
    if not (tmp_path / "a.jpg").exists():
        os.link(tmp_path / "a.JPG", tmp_path / "a.jpg")  # looks the same: one file, two names
    made = plan([tmp_path / "a.JPG"], naming=Naming("{stem}.jpg"))
    assert not made.jobs
    assert "would overwrite it" in str(made.failed[0][1])


def test_no_two_files_share_a_comparison(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "a.png", "a.png.compare.png")
    made = plan([tmp_path / "a.jpg", tmp_path / "a.png"])
    assert len({comparison_name(job.target) for job in made.jobs}) == 2
    moved = plan([tmp_path], output=tmp_path / "out", naming=Naming("{stem}{ext}"))
    assert [job.source.name for job in moved.jobs] == ["a.jpg", "a.png"]
    assert [path.name for path, _ in moved.failed] == ["a.png.compare.png"]


def test_over_long_names_cost_only_themselves(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    long = tmp_path / ("x" * 300)
    made = plan([long, tmp_path / "a.jpg"], output=tmp_path / ("y" * 300))
    assert [job.source.name for job in made.jobs] == ["a.jpg"]
    assert "cannot be read: File name too long" in str(made.failed[0][1])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter any folder")
def test_folders_one_may_not_enter_cost_only_themselves(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "shut/b.jpg")
    shut = tmp_path / "shut"
    shut.chmod(0o400)
    try:
        made = plan([shut, shut / "c", tmp_path / "a.jpg"])
    finally:
        shut.chmod(0o700)
    assert [job.source.name for job in made.jobs] == ["b.jpg", "a.jpg"]
    assert "c: cannot be read: Permission denied" in str(made.failed[0][1])


def test_a_folder_that_leads_in_circles_is_told_and_left(tmp_path: Path) -> None:
    _touch(tmp_path, "in/a.png", "elsewhere/b.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "other").symlink_to(tmp_path / "elsewhere")
    made = plan([tmp_path / "in"], recursive=True)
    assert [job.source.name for job in made.jobs] == ["a.png", "b.png"]
    assert [path.name for path, _ in made.failed] == ["again"]


def test_empty_folders_and_foreign_files_are_told(tmp_path: Path) -> None:
    _touch(tmp_path, "in/deeper/a.png", "notes.txt")
    made = plan([tmp_path / "in", tmp_path / "notes.txt", tmp_path / "none.xyz"])
    reasons = [str(error) for _, error in made.failed]
    assert not made.jobs
    assert "--recursive" in reasons[0]
    assert "expected an image file" in reasons[1]
    assert "no such file" in reasons[2]


def test_recursive_is_no_advice_where_there_are_no_folders(tmp_path: Path) -> None:
    _touch(tmp_path, "in/notes.txt", "in/@eaDir/thumbnail.jpg")
    made = plan([tmp_path / "in"])
    assert [str(error) for _, error in made.failed] == [f"{tmp_path / 'in'}: holds no image files"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_even_and_together_the_plan(tmp_path: Path, count: int) -> None:
    _touch(tmp_path, *(f"{name}.png" for name in "abcde"))
    made = plan([tmp_path, tmp_path / "notes-1.txt", tmp_path / "notes-2.txt"])
    shards = [made.shard(i + 1, count) for i in range(count)]
    jobs = [job for shard in shards for job in shard.jobs]
    assert sorted(jobs, key=lambda job: job.source) == made.jobs
    assert sum(len(shard.failed) for shard in shards) == len(made.failed) == 2
    sizes = [len(shard.jobs) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("number", [0, 4])
def test_a_shard_outside_its_count_is_refused(number: int) -> None:
    with pytest.raises(InputError, match="expected i/n with i from 1 to n"):
        Plan().shard(number, 3)


def test_a_picture_that_cannot_be_written_is_no_folder(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png")
    with pytest.raises(InputError, match="can be written, not gif"):
        plan([tmp_path / "a.png"], output=tmp_path / "b.gif")
    (made,) = plan([tmp_path / "a.png"], output=tmp_path / "v1.2").jobs
    assert made.target == tmp_path / "v1.2" / "a.restored.png"


def test_pictures_are_found_where_a_plan_finds_them(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png", "b.restored.png", "notes.txt", "in/c.jpg")
    files, made = find_images([tmp_path, tmp_path / "*.png"])
    assert [file.name for file in files] == ["a.png", "b.restored.png"]
    assert made.failed == []
    files, _ = find_images([tmp_path], recursive=True)
    assert [file.name for file in files] == ["a.png", "b.restored.png", "c.jpg"]
    files, made = find_images([tmp_path / "none*.png"])
    assert (files, len(made.failed)) == ([], 1)


def _named(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_copies_of_other_programs_are_left_out_and_counted(tmp_path: Path) -> None:
    _named(
        tmp_path, "a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", ".thumbnails/a.jpg",
        "trip/.thumbnails/b.jpg", "#recycle/c.jpg", "__MACOSX/a.jpg", "My Previews.lrdata/1.jpg",
        "#1 walk/d.jpg", "@home/e.jpg",
    )  # fmt: skip
    made = plan([tmp_path], recursive=True)
    found = sorted(job.source.relative_to(tmp_path).as_posix() for job in made.jobs)
    assert found == ["#1 walk/d.jpg", "@home/e.jpg", "a.jpg"]
    assert sorted(folder.name for folder in made.left_out) == [
        "#recycle", ".thumbnails", ".thumbnails", "@eaDir", "My Previews.lrdata", "__MACOSX",
    ]  # fmt: skip
    assert plan([tmp_path]).left_out == []
    # Who names such a folder wants it.
    assert len(plan([tmp_path / ".thumbnails"]).jobs) == 1


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("IMG [2019]/*.jpg", ["IMG [2019]/a.jpg", "IMG [2019]/b.jpg"]),
        ("IMG [2019]/[ab].jpg", ["IMG [2019]/a.jpg", "IMG [2019]/b.jpg"]),
        ("*/*.jpg", ["2019/c.jpg", "IMG [2019]/a.jpg", "IMG [2019]/b.jpg"]),
        ("IMG [2019]/**/d.jpg", ["IMG [2019]/x [1]/d.jpg"]),
        ("IMG [2019]/x*/d.jpg", ["IMG [2019]/x [1]/d.jpg"]),
        ("**/*.jpg", ["2019/c.jpg", "IMG [2019]/a.jpg", "IMG [2019]/b.jpg",
                      "IMG [2019]/x [1]/d.jpg"]),
        ("[i]*.jpg", []),
        ("IMG [2019]", ["IMG [2019]/a.jpg", "IMG [2019]/b.jpg"]),
        ("201[0-9]/c.jpg", ["2019/c.jpg"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("absolute", [True, False])
def test_patterns_below_folders_with_brackets_match(
    pattern: str,
    names: list[str],
    absolute: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _named(tmp_path, "IMG [2019]/a.jpg", "IMG [2019]/b.jpg", "IMG [2019]/x [1]/d.jpg", "2019/c.jpg")
    monkeypatch.chdir(tmp_path)
    made = plan([f"{tmp_path}/{pattern}" if absolute else pattern])
    base = tmp_path if absolute else Path()
    assert [job.source for job in made.jobs] == [base / name for name in names]
    assert bool(made.failed) == (not names)


def test_raw_photographs_become_tiff_files(tmp_path: Path) -> None:
    _named(tmp_path, "a.NEF", "b.dng", "b.jpg")
    made = plan([tmp_path])
    assert [job.target.name for job in made.jobs] == [
        "a.restored.tif", "b.restored.tif", "b.restored.jpg"
    ]  # fmt: skip
    made = plan([tmp_path / "a.NEF"], naming=Naming(format=format_named("png")))
    assert made.jobs[0].target.name == "a.restored.png"
    with pytest.raises(InputError, match="read, not written"):
        plan([tmp_path / "a.NEF"], output=tmp_path / "out.dng")


@pytest.mark.parametrize(
    ("name", "way"),
    [("a.jp2", "magick"), ("a.exr", "tone-map"), ("a.fits", "stretch"), ("a.psd", "TIFF")],
)
def test_a_kind_that_is_not_read_is_named_with_the_way_out(
    name: str, way: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"anything")
    (_, error), *others = plan([tmp_path / name]).failed
    assert not others
    assert way in str(error)
    assert "\n" not in str(error)
