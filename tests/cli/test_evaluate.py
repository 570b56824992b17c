import json

import numpy as np
import pytest


def test_the_table_goes_to_stdout(folder, run):
    code, out, _ = run(
        "evaluate", "identity", "--data", folder, "--protocol", "gaussian-color",
        "--sigma", "15,50",
    )  # fmt: skip
    assert code == 0
    assert out.startswith("## identity on photos, protocol gaussian-color")
    assert "σ = 15" in out
    assert "σ = 50" in out


def test_json_holds_protocol_means_and_images(folder, run):
    code, out, _ = run(
        "evaluate", "nlm", "--data", folder, "--protocol", "all-in-one", "--sigma", "25",
        "--limit", "2", "--seed", "3", "--json",
    )  # fmt: skip
    assert code == 0
    report = json.loads(out)
    assert report["protocol"]["crop_multiple"] == 16
    assert (report["seed"], report["images_found"]) == (3, 3)
    (case,) = report["cases"]
    assert [(i["width"], i["height"]) for i in case["images"]] == [(32, 16)] * 2
    assert case["mean"]["psnr"] == pytest.approx(np.mean([i["psnr"] for i in case["images"]]))


def test_filters_may_be_repeated_and_are_reported(folder, run):
    words = ("evaluate", "identity", "--data", folder, "--protocol", "gaussian-color")
    words += ("--sigma", "25", "--include", "0*", "--include", "[12]*", "--exclude", "1*")
    code, out, _ = run(*words, "--json")
    assert code == 0
    report = json.loads(out)
    assert [image["name"] for image in report["cases"][0]["images"]] == ["0", "2"]
    assert report["selection"] == "include 0*, include [12]*, exclude 1*"
    assert "- files: include 0*" in run(*words)[1]


def test_a_folder_gets_all_three_reports(folder, run, tmp_path):
    words = ("evaluate", "identity", "--data", folder, "--protocol", "rain-y")
    words += ("--with", "noise:sigma_255=10", "-o", tmp_path / "out")
    assert run(*words)[0] == 0
    for name in ("results.json", "report.md", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_an_error_is_one_line_and_exits_one(folder, run):
    code, out, err = run("evaluate", "identity", "--data", folder, "--protocol", "paired-rgb")
    assert code == 1
    assert out == ""
    assert err.strip().count("\n") == 0
    assert err.startswith("unveil: ")


def test_missing_options_are_wrong_usage(folder, run):
    assert run("evaluate", "identity", "--data", folder)[0] == 2


def test_threads_are_set(folder, run):
    import torch

    before = torch.get_num_threads()
    try:
        _, out, _ = run(
        "evaluate", "identity", "--data", folder, "--protocol", "gaussian-color",
            "--sigma", "25", "--threads", "1", "--json",
        )  # fmt: skip
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert json.loads(out)["environment"]["threads"] == 1


def test_compare_takes_results_and_models(folder, run, tmp_path):
    shared = ("--data", folder, "--protocol", "gaussian-color", "--sigma", "25")
    assert run("evaluate", "nlm", *shared, "-o", tmp_path / "out")[0] == 0
    code, out, _ = run("compare", tmp_path / "out", "identity", *shared, "--json")
    assert code == 0
    comparison = json.loads(out)
    assert (comparison["a"]["model"], comparison["b"]["model"]) == ("nlm", "identity")
    assert [d["metric"] for d in comparison["differences"]] == ["psnr", "ssim"]
    code, text, _ = run(
        "compare",
        tmp_path / "out" / "results.json",
        tmp_path / "out",
        "--confidence",
        "0.9",
    )
    assert code == 0
    assert "90% interval" in text
    assert "too few images" in text


def test_compare_needs_images_for_a_model(run):
    code, _, err = run("compare", "identity", "nlm")
    assert code == 1
    assert "--data and --protocol" in err


def test_compare_refuses_a_file_that_is_no_result(run, tmp_path):
    (tmp_path / "x.json").write_text("[1, 2]")
    code, _, err = run("compare", tmp_path / "x.json", tmp_path / "x.json")
    assert code == 1
    assert "not the result" in err


def test_results_inside_the_data_are_refused(folder, run):
    words = ("--data", folder, "--protocol", "gaussian-color", "--sigma", "25")
    code, _, err = run("evaluate", "identity", *words, "-o", folder / "results")
    assert code == 1
    assert "would count as test images" in err
    assert not (folder / "results").exists()


def test_changed_images_are_scored_anew_only_by_force(folder, tmp_path, run):
    from unveil.imaging import save_png

    words = ("--data", folder, "--protocol", "gaussian-color", "--sigma", "25")
    out = ("-o", tmp_path / "out")
    assert run("evaluate", "identity", *words, *out)[0] == 0
    first = folder / "0.png"
    size = first.stat().st_size
    pixels = np.random.default_rng(9).integers(60, 200, (24, 32, 3), dtype=np.uint8)
    save_png(first, pixels)
    # As an uncompressed file of the same size would look.
    content = first.read_bytes()
    first.write_bytes(content + bytes(max(size - len(content), 0)))
    code, _, err = run("evaluate", "identity", *words, *out)
    assert code == 1
    assert "holds another evaluation" in err


def test_a_bad_image_is_told_before_any_is_scored(folder, tmp_path, run):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    words = ("--data", folder, "--protocol", "gaussian-color", "--sigma", "25")
    code, _, err = run("evaluate", "identity", *words, "-o", tmp_path / "out")
    assert code == 1
    assert "2.png" in err
    assert not (tmp_path / "out").exists()


def test_a_result_without_its_crops_is_made_whole(folder, tmp_path, run):
    import shutil

    words = ("--data", folder, "--protocol", "gaussian-color", "--sigma", "25")
    words += ("-o", tmp_path / "out")
    assert run("evaluate", "identity", *words)[0] == 0
    shutil.rmtree(tmp_path / "out" / "crops")
    assert run("evaluate", "identity", *words)[0] == 0
    assert len(list((tmp_path / "out" / "crops").iterdir())) == 3


@pytest.mark.parametrize("sigma", ["nan", "inf", "-1"])
def test_noise_levels_are_numbers_from_0_on(folder, run, sigma):
    words = ("--data", folder, "--protocol", "gaussian-color", "--sigma", sigma)
    code, _, err = run("evaluate", "identity", *words)
    assert code == 1
    assert "expected 0 or more" in err
