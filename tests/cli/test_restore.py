"""`unveil restore` on good, bad and hostile files."""

import json
import os
import signal
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from tests.imaging.dng import write_dng

from unveil.batch import run as batch
from unveil.batch.jobs import Job
from unveil.batch.run import Outcome, Saving
from unveil.cli import app
from unveil.imaging import read_image
from unveil.inference import Restorer
from unveil.inference.strength import Strength


def _run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        app.main(["restore", *map(str, words)])
    code = stop.value.code
    captured = capsys.readouterr()
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def _photo(path: Path, size: tuple[int, int] = (40, 30), **options: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


def test_a_photo_comes_back_beside_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = _photo(tmp_path / "a.png")
    code, out, err = _run(capsys, photo, "--model", "identity")
    assert (code, err) == (0, "")
    assert out.strip() == str(tmp_path / "a.restored.png")
    np.testing.assert_array_equal(read_image(out.strip()).pixels, read_image(photo).pixels)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.restored.png"]


def test_a_result_is_replaced_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = _photo(tmp_path / "a.png")
    assert _run(capsys, photo, "--model", "identity")[0] == 0
    code, out, err = _run(capsys, photo, "--model", "identity")
    assert (code, out) == (1, "")
    assert err.startswith("unveil: ")
    assert "--force" in err
    assert _run(capsys, photo, "--model", "identity", "--force")[0] == 0


def test_json_says_what_became_of_each_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    code, out, err = _run(
        capsys, tmp_path, "-o", tmp_path / "out", "--model", "identity", "--json", "--compare"
    )
    results = json.loads(out)["results"]
    assert code == 1
    assert [entry["status"] for entry in results] == ["restored", "failed"]
    assert results[0]["megapixels"] == pytest.approx(0.0012)
    assert Path(results[0]["target"]).exists()
    assert Path(results[0]["comparison"]).exists()
    assert "no image we can read" in results[1]["error"]
    assert len(err.strip().splitlines()) == 1


def test_format_name_and_quality_are_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _photo(tmp_path / "a.png")
    words = ["--format", "jpg", "--quality", 33, "--name", "{stem}-x{ext}", "--model", "identity"]
    assert _run(capsys, tmp_path / "a.png", *words)[0] == 0
    assert read_image(tmp_path / "a-x.jpg").metadata.quality[0] == 33


def test_every_option_reaches_the_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def spy(restorer: Restorer, jobs: list[Job], saving: Saving, share: object) -> list[Outcome]:
        assert callable(share)
        limit = restorer.options.max_megapixels
        seen.update(engine=restorer.engine, limit=limit, saving=saving, jobs=jobs)
        return []

    monkeypatch.setattr("unveil.batch.run.restore_files", spy)
    (tmp_path / "in" / "x").mkdir(parents=True)
    _photo(tmp_path / "in" / "x" / "a.png")
    words = "--tile 96 --strength 0.3 --strength-chroma 0.6 --ensemble"
    words += " --max-megapixels 7 --quality 9 --force --compare --recursive --device cpu"
    words += " --task auto --model identity"
    assert _run(capsys, tmp_path / "in", *words.split())[0] == 0
    engine = seen["engine"]
    assert (engine.tiling.tile, engine.forced) == (96, True)
    assert (engine.strength, engine.ensemble) == (Strength(0.3, 0.6), True)
    assert seen["limit"] == 7
    assert seen["saving"] == Saving(quality=9, force=True, compare=True, remember=True)
    assert seen["jobs"][0].target == tmp_path / "in" / "x" / "a.restored.png"
    _run(capsys, tmp_path / "in" / "x" / "a.png", "--tile", "off", "--model", "identity")
    assert seen["engine"].tiling.whole_megapixels == float("inf")
    assert not seen["saving"].remember


def test_threads_are_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        _run(capsys, _photo(tmp_path / "a.png"), "--model", "identity", "--threads", 1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "words",
    [
        ["--tile", "huge"],
        ["--tile", "5"],
        ["--task", "sharpen"],
        ["--format", "xyz"],
        ["--strength", "2"],
        ["--quality", "0"],
        ["--name", "{stem}"],
        ["--name", "{stem}.jpg", "--format", "tiff"],
        ["--output", "r.jpg", "--format", "tiff"],
        ["--threads", "0"],
        ["--no-such-option"],
    ],
)
def test_wrong_usage_exits_with_2(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(capsys, _photo(tmp_path / "a.png"), "--model", "identity", *words)[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "no_such"], "no model 'no_such'"),
        (["--device", "abacus"], "device 'abacus'"),
    ],
)
def test_impossible_wishes_are_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults = [] if "--model" in words else ["--model", "identity"]
    code, _, err = _run(capsys, _photo(tmp_path / "a.png"), *defaults, *words)
    assert code == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1


def _bomb(path: Path) -> None:
    head = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    idat = b"IDAT" + zlib.compress(bytes(99))
    body += struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + b"\0\0\0\0IEND\xaeB`\x82")


def _hostile(folder: Path) -> dict[str, str]:
    whole = _photo(folder / "whole.jpg", (90, 90), quality=95).read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("dear diary\n" * 99)
    _photo(folder / "renamed.png").rename(folder / "renamed.jpg")
    _bomb(folder / "bomb.png")
    (folder / "folder.png").mkdir()
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "loop").symlink_to(folder)
    return {
        "truncated.jpg": "damaged",
        "empty.png": "empty",
        "text.jpg": "no image we can read",
        "renamed.jpg": "holds png",
        "bomb.png": "above the limit of 250; raise it (--max-megapixels)",
        "dangling.png": "No such file",
        "loop": "leads back",
    }


def test_hostile_files_cost_one_line_each_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    expected = _hostile(tmp_path / "in")
    code, out, err = _run(
        capsys, tmp_path / "in", "-o", tmp_path / "out", "--recursive", "--model", "identity"
    )
    lines = err.strip().splitlines()
    assert code == 1
    assert out.strip() == str(tmp_path / "out" / "whole.restored.jpg")
    assert len(lines) == len(expected), lines
    for name, reason in expected.items():
        assert any(name in line and reason in line for line in lines), (name, lines)
    made = sorted(p.name for p in (tmp_path / "out").rglob("*") if not p.name.startswith("."))
    assert made == ["whole.restored.jpg"]
    assert not list((tmp_path / "out").glob("*.part"))


def test_missing_inputs_do_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _photo(tmp_path / "a.png")
    missing = [tmp_path / "none.png", f"{tmp_path}/*.bmp", tmp_path / "none"]
    code, out, err = _run(capsys, *missing, tmp_path / "a.png", "--model", "identity")
    assert code == 1
    assert out.strip().endswith("a.restored.png")
    assert len(err.strip().splitlines()) == 3


def test_an_over_long_name_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys, tmp_path / f"{'x' * 300}.png", "--model", "identity")
    assert (code, out) == (1, "")
    assert "File name too long" in err
    assert len(err.strip().splitlines()) == 1


def test_a_second_run_in_another_format_restores_the_photos_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _photo(tmp_path / "a.jpg")
    words = [tmp_path, "--model", "identity", "--compare"]
    assert _run(capsys, *words, "--format", "png")[0] == 0
    code, out, _ = _run(capsys, *words)
    assert code == 0
    made = ["a.restored.jpg", "a.restored.jpg.compare.png"]
    assert [Path(line).name for line in out.split()] == made


def test_force_leaves_the_other_inputs_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _photo(tmp_path / "a.jpg")
    before = _photo(tmp_path / "a.png").read_bytes()
    words = ["--format", "png", "--name", "{stem}{ext}", "--force", "--model", "identity"]
    code, out, err = _run(capsys, tmp_path, *words)
    assert (code, out) == (1, "")
    assert len(err.strip().splitlines()) == 2
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_read_only_place_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = _photo(tmp_path / "a.png")
    (tmp_path / "file").touch()
    code, _, err = _run(capsys, photo, "-o", tmp_path / "file" / "x", "--model", "identity")
    assert code == 1
    assert "cannot be made" in err
    code, _, err = _run(capsys, photo, "-o", "/proc/nowhere", "--model", "identity")
    assert code == 1
    assert len(err.strip().splitlines()) == 1


def test_shards_together_restore_what_one_process_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "in"
    photos.mkdir()
    for i in range(5):
        _photo(photos / f"{i}.png", size=(20 + i, 16))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert _run(capsys, photos, "-o", whole, "--model", "identity")[0] == 0
    for i in (2, 1, 3):
        code, out, _ = _run(capsys, photos, "-o", parts, "--model", "identity", "--shard", f"{i}/3")
        assert code == 0
        assert len(out.splitlines()) == (1 if i == 3 else 2)
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in parts.iterdir())
    for name in names:
        if name.endswith(".png"):
            assert (whole / name).read_bytes() == (parts / name).read_bytes()
    # The journal is one: what any shard did is done for all.
    _, out, err = _run(capsys, photos, "-o", parts, "--model", "identity")
    assert out == ""
    assert err.strip() == "5 already done"


@pytest.mark.parametrize("shard", ["3", "0/2", "3/2", "a/b", "-1/2"])
def test_a_malformed_shard_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shard: str
) -> None:
    photo = _photo(tmp_path / "a.png")
    assert _run(capsys, photo, "--model", "identity", f"--shard={shard}")[0] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_tells_what_is_done(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    photos = tmp_path / "in"
    photos.mkdir()
    for i in range(4):
        _photo(photos / f"{i}.png")
    original, seen = batch._Run.restore, []

    def restore(*words: Any) -> Any:
        seen.append(words)
        if len(seen) == 3:
            os.kill(os.getpid(), number)
        return original(*words)

    monkeypatch.setattr(batch._Run, "restore", restore)
    out = tmp_path / "out"
    code, text, err = _run(capsys, photos, "-o", out, "--model", "identity", "--json")
    told = json.loads(text)
    assert (code, told["stopped"]) == (128 + number, True)
    assert [entry["status"] for entry in told["results"]] == ["restored"] * 2
    assert sorted(path.name for path in out.glob("*.png")) == ["0.restored.png", "1.restored.png"]
    assert err == "unveil: stopped after 2 of 4 files; start again to go on\n"
    assert not list(out.glob("*.part"))
    monkeypatch.setattr(batch._Run, "restore", original)
    code, text, _ = _run(capsys, photos, "-o", out, "--model", "identity", "--json")
    told = json.loads(text)
    assert (code, told["stopped"]) == (0, False)
    statuses = [entry["status"] for entry in told["results"]]
    assert statuses == ["skipped"] * 2 + ["restored"] * 2


def test_photos_are_restored_in_place_with_their_dates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = _photo(tmp_path / "a.png")
    before = photo.read_bytes()
    os.utime(photo, (1_000_000_000, 1_000_000_000))
    words = [tmp_path, "--in-place", "--keep-date", "--model", "identity"]
    code, out, err = _run(capsys, *words)
    assert (code, out.strip(), err) == (0, str(photo), "")
    assert photo.stat().st_mtime == 1_000_000_000
    assert (tmp_path / "a.original.png").read_bytes() == before
    code, out, err = _run(capsys, *words)
    assert (code, out, err.strip()) == (0, "", "1 already done")
    for option in (["-o", tmp_path / "out"], ["--name", "{stem}-b{ext}"], ["--format", "png"]):
        assert _run(capsys, photo, "--in-place", "--model", "identity", *option)[0] == 2


def test_folders_of_thumbnails_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (".", "@eaDir", ".thumbnails"):
        (tmp_path / name).mkdir(exist_ok=True)
        _photo(tmp_path / name / "a.png")
    code, out, err = _run(capsys, tmp_path, "-r", "--model", "identity")
    assert (code, out.strip()) == (0, str(tmp_path / "a.restored.png"))
    assert "left out 2 folders of thumbnails, trash and the like: .thumbnails, @eaDir" in err


def test_raw_photographs_are_developed_as_the_options_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rawpy")
    source = write_dng(tmp_path / "a.dng", preview=True)
    assert _run(capsys, source, "--model", "identity")[0] == 0
    plain = read_image(tmp_path / "a.restored.tif").pixels
    code, out, _ = _run(
        capsys, source, "--model", "identity", "--develop", "exposure=-1", "--format", "png"
    )
    assert (code, out.strip()) == (0, str(tmp_path / "a.restored.png"))
    assert read_image(out.strip()).pixels.mean() < plain.mean()
    code, _, err = _run(capsys, source, "--develop", "contrast=2")
    assert code == 2
    assert "white-balance" in err


def test_a_file_of_floats_is_named_when_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 9, 3), 200, np.float32), photometric="rgb")
    code, _, err = _run(capsys, tmp_path / "a.tif", "--model", "identity")
    assert code == 1
    assert err.startswith(f"unveil: {tmp_path / 'a.tif'}: most of the file's values")
