"""Clips: frames, times, sound and colours stay; flicker falls when it is damped."""

from fractions import Fraction

import numpy as np
import pytest
from torch import nn

from unveil import Restorer, create_model
from unveil.batch.video import restore_video
from unveil.errors import ImageFileError, InputError, OutputError

av = pytest.importorskip("av")

TIMES = [0, 1, 2, 4, 7, 8]


def _clip(path, *, size=(48, 64), codec="libx264", pixels="yuv420p", sound=True, noise=0.0):
    """Write a clip of a grey ramp whose frames come at uneven times."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as clip:
        picture = clip.add_stream(codec, rate=24, options={"crf": "4"})
        picture.height, picture.width, picture.pix_fmt = *size, pixels
        picture.codec_context.time_base = Fraction(1, 24)
        if sound:
            voice = clip.add_stream("aac", rate=8000)
        ramp = np.linspace(20, 235, size[1])[None, :, None].repeat(size[0], 0).repeat(3, 2)
        for time in TIMES:
            frame = np.clip(ramp + rng.normal(0, noise, ramp.shape), 0, 255).astype(np.uint8)
            made = av.VideoFrame.from_ndarray(frame, "rgb24")
            made.pts, made.time_base = time, Fraction(1, 24)
            clip.mux(picture.encode(made))
        if sound:
            samples = av.AudioFrame.from_ndarray(
                np.sin(np.arange(4096) / 5)[None].astype(np.float32), "fltp", "mono"
            )
            samples.sample_rate = 8000
            clip.mux(voice.encode(samples))
            clip.mux(voice.encode())
        clip.mux(picture.encode())
    return path


def _frames(path):
    with av.open(str(path)) as clip:
        return [(float(f.pts * f.time_base), f.to_ndarray()) for f in clip.decode(video=0)]


def _sound(path):
    with av.open(str(path)) as clip:
        return [bytes(packet) for packet in clip.demux(audio=0) if packet.size]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mkv", {"size": (35, 49), "pixels": "yuv444p"}),
        ("a.mkv", {"codec": "libx265", "pixels": "yuv420p10le"}),
    ],
)
def test_times_sound_and_luminance_stay(tmp_path, name, options):
    source = _clip(tmp_path / name, **options)
    target = tmp_path / f"out.{name[-3:]}"
    clip = restore_video(Restorer(nn.Identity()), source, target)
    assert clip.frames == len(TIMES)
    before, after = _frames(source), _frames(target)
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1e-3)
    assert _sound(target) == _sound(source)
    full = 1023 if "10" in options.get("pixels", "") else 255
    height = options.get("size", (48, 64))[0]
    for (_, one), (_, other) in zip(before, after, strict=True):
        luma = np.abs(one[:height].astype(int) - other[:height].astype(int)) / full
        assert luma.mean() < 0.01


def test_damping_lessens_flicker_and_statistics_run(tmp_path):
    source = _clip(tmp_path / "a.mp4", noise=6.0, sound=False)
    flicker = []
    for damping in (0.0, 0.8):
        target = tmp_path / f"{damping}.mp4"
        restore_video(Restorer(create_model("mtair_tiny")), source, target, damping=damping)
        values = np.stack([pixels[:48] for _, pixels in _frames(target)]).astype(float)
        flicker.append(values.std(0).mean())
    assert flicker[1] < 0.75 * flicker[0]


def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path):
    source = _clip(tmp_path / "a.mp4", sound=False)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(source.read_bytes()[:200])
    restorer = Restorer(nn.Identity())
    with pytest.raises(ImageFileError, match="cannot be read as a clip"):
        restore_video(restorer, broken, tmp_path / "b.mp4")
    with pytest.raises(InputError, match="damping"):
        restore_video(restorer, source, tmp_path / "b.mp4", damping=1.0)
    with pytest.raises(OutputError, match="exists"):
        restore_video(restorer, source, source, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "broken.mp4"]


def test_the_command_restores_clips_lists_them_and_reports(tmp_path, capsys):
    from unveil.cli.app import main

    source = _clip(tmp_path / "a.mp4", sound=False)
    (tmp_path / "list.txt").write_text(f"{source}\n")
    words = ["restore", "--list", str(tmp_path / "list.txt"), "--model", "identity"]
    with pytest.raises(SystemExit) as done:
        main([*words, "--report", str(tmp_path / "r.csv")])
    assert done.value.code == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "a.restored.mp4")
    assert "frames/s" in printed.err
    assert ",restored," in (tmp_path / "r.csv").read_text()
    with pytest.raises(SystemExit) as done:
        main([*words, "--shard", "1/2"])
    assert done.value.code == 2
    assert "--shard: not with clips" in capsys.readouterr().err
