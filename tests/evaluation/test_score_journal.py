import pytest

from unveil.errors import DataError, OutputError
from unveil.evaluation import ImageScore, Report
from unveil.evaluation.score_journal import ScoreJournal

SCORE = ImageScore("a", 40, 30, 31.25, 0.9, 20.0, 0.5, 0.25)


def test_scores_are_on_disk_as_soon_as_they_are_added(tmp_path):
    ScoreJournal(tmp_path / "new", {"run": 1}).add("sigma25", SCORE)
    assert ScoreJournal(tmp_path / "new", {"run": 1}).scores == {("sigma25", "a"): SCORE}


def test_another_run_needs_force(tmp_path):
    ScoreJournal(tmp_path, {"run": 1}).add("sigma25", SCORE)
    with pytest.raises(OutputError, match="another evaluation"):
        ScoreJournal(tmp_path, {"run": 2})
    assert ScoreJournal(tmp_path, {"run": 2}, force=True).scores == {}
    assert ScoreJournal(tmp_path, {"run": 2}).scores == {}


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        ScoreJournal(tmp_path / "file" / "out", {})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"protocol": {"name": "x"}, "cases": [1]}'])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError):
        Report.read(tmp_path)


def test_a_missing_result_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        Report.read(tmp_path / "absent.json")
