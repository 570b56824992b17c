"""`unveil degrade` writes degraded photos, whole and reproducibly."""

import json

import numpy as np
import pytest

from unveil.cli.app import main
from unveil.imaging import load_rgb, save_png


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    save_png(path, np.random.default_rng(0).integers(60, 200, (24, 32, 3), dtype=np.uint8))
    return path


def _run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["degrade", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_a_photo_is_degraded_as_the_library_does(photo, tmp_path, capsys):
    out = tmp_path / "out"
    code, text, _ = _run(capsys, photo, "--with", "haze:beta=1,tint=0", "-o", out)
    assert code == 0
    assert str(out / "photo.png") in text
    hazy, clean = load_rgb(out / "photo.png").astype(float), load_rgb(photo).astype(float)
    assert np.abs(hazy - 0.88 * 255).mean() < 0.9 * np.abs(clean - 0.88 * 255).mean()


def test_the_seed_and_the_name_decide_the_bytes(photo, tmp_path, capsys):
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a.png", "photo.png"):
        save_png(folder / name, load_rgb(photo))
    runs = {"alone": [photo], "among": [folder], "seeded": [photo, "--seed", "1"]}
    for name, words in runs.items():
        rest = ["--with", "noise:sigma_255=5..50", "-o", tmp_path / name]
        assert _run(capsys, *words, *rest)[0] == 0
    bytes_of = {name: (tmp_path / name / "photo.png").read_bytes() for name in runs}
    assert bytes_of["alone"] == bytes_of["among"] != bytes_of["seeded"]


def test_json_names_the_values_drawn(photo, tmp_path, capsys):
    words = ["--with", "noise:sigma_255=5..50", "-o", tmp_path / "out", "--json"]
    record = json.loads(_run(capsys, photo, *words)[1])
    name, _, value = record["with"].partition("=")
    assert name == "noise:sigma_255"
    noise = load_rgb(tmp_path / "out" / "photo.png").astype(float) - load_rgb(photo)
    assert noise.std() == pytest.approx(float(value), rel=0.15)


def test_deep_photos_stay_deep(tmp_path, capsys):
    save_png(tmp_path / "deep.png", np.full((8, 8, 3), 40001, np.uint16))
    words = ["--with", "lowlight:ev=0,noise=0", "-o", tmp_path / "out"]
    assert _run(capsys, tmp_path / "deep.png", *words)[0] == 0
    degraded = load_rgb(tmp_path / "out" / "deep.png")
    assert degraded.dtype == np.uint16
    assert np.abs(degraded.astype(int) - 40001).max() <= 2


def test_a_depth_map_places_the_haze(photo, tmp_path, capsys):
    depth = np.zeros((24, 32), np.uint8)
    depth[:, 16:] = 255
    save_png(tmp_path / "depth.png", depth)
    words = ["--with", "haze:beta=3,tint=0", "--depth", tmp_path / "depth.png"]
    assert _run(capsys, photo, *words, "-o", tmp_path / "out")[0] == 0
    hazy, clean = load_rgb(tmp_path / "out" / "photo.png"), load_rgb(photo)
    assert np.array_equal(hazy[:, :16], clean[:, :16])
    assert hazy[:, 16:].std() < 0.2 * clean[:, 16:].std()


def test_the_contact_sheet_is_written(photo, tmp_path, capsys):
    code, text, _ = _run(capsys, photo, "--preview", "-o", tmp_path / "out")
    assert code == 0
    assert "photo_preview.png" in text
    assert load_rgb(tmp_path / "out" / "photo_preview.png").shape[1] == 3 * 36 + 4
    assert not (tmp_path / "out" / "photo.png").exists()


def test_the_list_names_every_degradation(capsys):
    code, text, _ = _run(capsys, "--list")
    assert code == 0
    for word in ("noise_uint8:", "rain:", "blur:motion:", "presets      light, heavy", "0..255"):
        assert word in text


def test_existing_files_are_kept_unless_forced(photo, tmp_path, capsys):
    words = [photo, "--with", "jpeg", "-o", tmp_path / "out"]
    assert _run(capsys, *words)[0] == 0
    before = (tmp_path / "out" / "photo.png").read_bytes()
    code, _, message = _run(capsys, photo, "--with", "noise", "-o", tmp_path / "out")
    assert (code, message.count("\n")) == (1, 1)
    assert "--force" in message
    assert (tmp_path / "out" / "photo.png").read_bytes() == before
    assert _run(capsys, *words, "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--with", "rian:light"], "did you mean 'rain'"),
        ([], "nothing to do"),
        (["--with", "jpeg", "--depth", "d.png"], "--depth belongs to one photo"),
    ],
)
def test_mistakes_are_one_line(photo, tmp_path, capsys, words, message):
    other = tmp_path / "other.png"
    save_png(other, load_rgb(photo))
    code, _, error = _run(capsys, photo, other, *words, "-o", tmp_path / "out")
    assert code == 1
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_photos_that_would_share_a_result_are_refused_first(photo, tmp_path, capsys):
    twin = tmp_path / "sub" / "photo.png"
    twin.parent.mkdir()
    save_png(twin, load_rgb(photo))
    code, _, error = _run(capsys, photo, twin, "--with", "jpeg", "-o", tmp_path / "out")
    assert code == 1
    assert "would both become" in error
    assert not (tmp_path / "out").exists()


def test_a_photo_is_never_written_over_itself(photo, capsys):
    words = [photo, "--with", "jpeg", "-o", photo.parent, "--force"]
    code, _, error = _run(capsys, *words)
    assert code == 1
    assert "the photo itself" in error


def test_the_list_can_be_read_by_programs(capsys):
    code, text, _ = _run(capsys, "--json", "--list")
    assert code == 0
    told = json.loads(text)
    assert {"identity", "rain", "haze", "noise"} <= set(told)
    sigma = told["noise"]["parameters"]["sigma_255"]
    assert (sigma["low"], sigma["high"]) == (0, 255)
    assert told["rain"]["parameters"]["p"]["default"] == 1


def test_a_bad_photo_stops_no_other(photo, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    code, out, err = _run(capsys, bad, photo, "--with", "jpeg", "-o", tmp_path / "out")
    assert code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.png"]
    assert str(photo) in out
    assert "bad.png" in err
    assert err.count("\n") == 1


def test_a_depth_map_is_for_haze(photo, tmp_path, capsys):
    words = ["--with", "noise", "--depth", photo, "-o", tmp_path / "out"]
    code, _, err = _run(capsys, photo, *words)
    assert code == 1
    assert "--depth is of use to haze only" in err


def test_a_file_is_no_folder_for_results(photo, tmp_path, capsys):
    code, _, message = _run(capsys, photo, "--with", "rain:light", "-o", tmp_path / "out.PNG")
    assert code == 2
    assert "out.PNG: names a file, but results go into a folder" in message
    assert not (tmp_path / "out.PNG").exists()


def test_photos_and_a_folder_must_be_named(photo, capsys):
    for words in ([photo, "--with", "jpeg"], ["--with", "jpeg", "-o", "out"]):
        code, _, err = _run(capsys, *words)
        assert code == 2
        assert "name photos and" in err


def test_results_are_not_degraded_again(photo, tmp_path, capsys):
    words = [photo.parent, "--with", "jpeg", "-o", tmp_path / "out", "--force"]
    for _ in range(2):
        assert _run(capsys, *words)[0] == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["photo.png"]


def test_results_may_go_into_a_folder_above_the_photos(photo, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    photo.rename(folder / "photo.png")
    assert _run(capsys, folder, "--with", "jpeg", "-o", tmp_path)[0] == 0
    assert (tmp_path / "photo.png").exists()
    (tmp_path / "empty").mkdir()
    code, _, err = _run(capsys, tmp_path / "empty", "--with", "jpeg", "-o", tmp_path / "out")
    assert code == 1
    assert "holds no photos" in err
