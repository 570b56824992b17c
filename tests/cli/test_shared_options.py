"""Options out of any reason are one line and exit code 2, at once."""

import pytest

LONG = "9" * 5000


@pytest.mark.parametrize(
    "words",
    [
        ["restore", "x.png", "--threads", "999999999999"],
        ["restore", "x.png", "--threads", LONG],
        ["restore", "x.png", "--tile", LONG],
        ["restore", "x.png", "--tile", "²"],
        ["restore", "x.png", "--shard", f"1/{LONG}"],
        ["restore", "x.png", "--shard", "0/0"],
        ["restore", "x.png", "--strength", "nan"],
        ["restore", "x.png", "--max-megapixels", "nan"],
        ["restore", "x.png", "--quality", LONG],
        ["restore", "x.png", "--name", "{stem:>9999999999}{ext}"],
        ["restore", "x.png", "--name", "{stem.__class__}{ext}"],
        ["restore", "x.png", "--no-such-option"],
        ["evaluate", "identity", "--data", ".", "--protocol", "rain-y", "--seed", LONG],
        ["compare", "a", "b", "--threads", "0"],
        ["degrade", "x.png", "-o", "out", "--with", "noise", "--seed", "-1"],
        ["data", "toy", "out", "--count", "1000000000"],
        ["data", "toy", "out", "--size", LONG],
        ["bench", "scan", "--lengths", LONG],
        ["bench", "scan", "--threads", "1,999999999999"],
        ["bench", "restore", "--sizes", "nan"],
        ["bench", "model", "--size", "1000000000"],
        ["train", "x.yaml", "--devices", "999999999999"],
        ["serve", "--threads", "999999999999"],
        ["no-such-verb"],
        ["restore"],
    ],
)
def test_they_are_refused_in_one_line(words, run):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert len(err) < 1500
    assert err.startswith("unveil: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restore", "x.png", "--device", "meta", "--model", "identity"], "computes nothing"),
        (["restore", "x.png", "--device", "cuda:" + LONG, "--model", "identity"], "device"),
        (["restore", "x.png", "--model", "m" * 5000], "File name too long"),
        (["evaluate", "nlm", "--data", "d" * 300, "--protocol", "rain-y"], "name too long"),
        (["compare", "a", "b", "--confidence", "nan", "--data", "."], "to evaluate it now"),
        (["degrade", "x.png", "-o", "out", "--with", "noise+" * 20_000], "steps"),
        (["degrade", "x.png", "-o", "out", "--with", f"noise:sigma_255={LONG}"], "outside"),
    ],
)
def test_what_the_library_refuses_is_one_line_too(words, said, run):
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert said in err


def test_a_reader_that_goes_away_is_no_error():
    import subprocess
    import sys

    listing = subprocess.Popen(
        [sys.executable, "-m", "unveil", "degrade", "--list"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    errors = listing.stderr.read()
    listing.stderr.close()
    assert listing.wait() == 1
    assert errors == b""
