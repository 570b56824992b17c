import shutil

import pytest

from unveil.errors import DataError, InputError
from unveil.evaluation import find_test_set, protocol_named

GAUSSIAN, ALL_IN_ONE, PAIRED = map(protocol_named, ("gaussian-color", "all-in-one", "paired-rgb"))


def test_numbers_in_names_sort_as_numbers(clean_folder):
    names = [entry.name for entry in find_test_set(clean_folder, GAUSSIAN).entries]
    assert names == ["2", "10", "11"]


def test_a_limit_keeps_the_first(clean_folder):
    test_set = find_test_set(clean_folder, GAUSSIAN, limit=2)
    assert [entry.name for entry in test_set.entries] == ["2", "10"]
    assert test_set.found == 3


def test_clean_halves_of_pairs_serve_as_clean_images(paired_folder):
    test_set = find_test_set(paired_folder, GAUSSIAN)
    assert [entry.clean.parent.name for entry in test_set.entries] == ["target", "target"]
    assert not test_set.paired


def test_all_in_one_takes_pairs_and_clean_images(paired_folder, clean_folder):
    assert find_test_set(paired_folder, ALL_IN_ONE).paired
    assert not find_test_set(clean_folder, ALL_IN_ONE).paired


def test_a_layout_names_pairs_of_other_folders(paired_folder):
    (paired_folder / "input").rename(paired_folder / "odd")
    with pytest.raises(DataError, match="needs pairs"):
        find_test_set(paired_folder, PAIRED)
    test_set = find_test_set(paired_folder, PAIRED, layout="odd/{name} -> target/{name}")
    assert len(test_set.entries) == 2


def test_equal_stems_get_distinct_names(clean_folder):
    shutil.copytree(clean_folder, clean_folder / "more")
    names = [entry.name for entry in find_test_set(clean_folder, GAUSSIAN).entries]
    assert len(set(names)) == 6


def test_a_missing_partner_is_an_error(paired_folder):
    (paired_folder / "target" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        find_test_set(paired_folder, PAIRED)


def test_clean_images_where_pairs_are_needed_are_refused(clean_folder):
    with pytest.raises(DataError, match="--with"):
        find_test_set(clean_folder, PAIRED)


def test_empty_and_missing_folders_are_errors(tmp_path):
    with pytest.raises(DataError, match="no images"):
        find_test_set(tmp_path, GAUSSIAN)
    with pytest.raises(DataError, match="no such folder"):
        find_test_set(tmp_path / "absent", GAUSSIAN)


def test_a_limit_of_nothing_is_refused(clean_folder):
    with pytest.raises(InputError):
        find_test_set(clean_folder, GAUSSIAN, limit=0)


def test_the_digest_sees_a_changed_file(clean_folder):
    before = find_test_set(clean_folder, GAUSSIAN).digest
    with (clean_folder / "2.png").open("ab") as file:
        file.write(b"\0")
    assert find_test_set(clean_folder, GAUSSIAN).digest != before


@pytest.mark.parametrize("half", ["input", "target"])
def test_the_digest_sees_either_half_of_a_pair(paired_folder, half):
    before = find_test_set(paired_folder, PAIRED).digest
    with (paired_folder / half / "1.png").open("ab") as file:
        file.write(b"\0")
    assert find_test_set(paired_folder, PAIRED).digest != before


def test_generic_folder_names_keep_their_parents(paired_folder):
    target = paired_folder.parent / "rain100h" / "test"
    shutil.copytree(paired_folder, target)
    assert find_test_set(target, PAIRED).name == "rain100h/test"


def test_filters_choose_clean_images_and_pairs(clean_folder, paired_folder):
    chosen = find_test_set(clean_folder, GAUSSIAN, include=["2.*", "1*"], exclude="*1.png")
    assert [entry.name for entry in chosen.entries] == ["2", "10"]
    assert chosen.selection == "include 2.*, include 1*, exclude *1.png"
    pairs = find_test_set(paired_folder, PAIRED, exclude=["0*"])
    assert [entry.name for entry in pairs.entries] == ["1"]


def test_filters_that_let_nothing_pass_are_named(clean_folder, paired_folder):
    for folder, protocol in ((clean_folder, GAUSSIAN), (paired_folder, PAIRED)):
        with pytest.raises(DataError, match=r"include zebra\*"):
            find_test_set(folder, protocol, include="zebra*")
