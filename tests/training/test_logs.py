"""Logs survive kills and go on without doubled rows."""

from unveil.training.logs import CsvTable


def test_a_resumed_table_drops_the_rows_that_are_repeated(tmp_path):
    path = tmp_path / "t.csv"
    table = CsvTable(path, ["step", "loss"], 0)
    for step in (1, 2, 3, 4):
        table.add({"step": step, "loss": step / 3, "other": 1})
    CsvTable(path, ["step", "loss"], 2).add({"step": 3, "loss": 9.0})
    assert path.read_text().split() == ["step,loss", "1,0.333333", "2,0.666667", "3,9"]


def test_a_row_cut_short_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("step,loss\n1,0.5\n")
    with path.open("a") as file:
        file.write("\n,")
    CsvTable(path, ["step", "loss"], 5)
    assert path.read_text().split() == ["step,loss", "1,0.5"]


def test_columns_that_are_not_filled_any_more_stay(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("step,old\n1,2\n")
    CsvTable(path, ["step", "new"], 5).add({"step": 6, "new": 3})
    assert path.read_text().split() == ["step,new,old", "1,,2", "6,3,"]
