import json

PROTOCOL = ("--protocol", "gaussian-color", "--sigma", "25")


def test_models_are_evaluated_now_and_compared(folder, run):
    words = ("compare", "identity", "nlm", "--data", folder, *PROTOCOL)
    code, out, err = run(*words, "--include", "[01]*", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["a"]["model"], told["b"]["model"]) == ("identity", "nlm")
    assert "identity" in run(*words)[1]


def test_a_result_is_read_again(folder, tmp_path, run):
    words = ("--data", folder, *PROTOCOL)
    assert run("evaluate", "identity", *words, "--output", tmp_path / "a")[0] == 0
    code, out, err = run("compare", tmp_path / "a", tmp_path / "a", "--json")
    assert code == 0, err
    assert all(row["mean"] == 0 for row in json.loads(out)["differences"])


def test_options_that_two_results_cannot_follow_are_refused(folder, tmp_path, run):
    words = ("--data", folder, *PROTOCOL)
    assert run("evaluate", "identity", *words, "--output", tmp_path / "a")[0] == 0
    code, out, err = run("compare", tmp_path / "a", tmp_path / "a", "--sigma", "50")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "--sigma would have no effect" in err


def test_a_model_without_data_is_refused_in_one_line(run):
    code, out, err = run("compare", "identity", "nlm")
    assert (code, out) == (1, "")
    assert "--data and --protocol" in err
    assert err.count("\n") == 1
