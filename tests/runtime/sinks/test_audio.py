from fractions import Fraction

import av
import numpy as np
import pytest

import clips
from segopt.sinks.mp4 import VideoWriter
from segopt.sources import open_source

RATE = 48000
CLICKS = (0.5, 1.1, 1.7)


def sound_of_clicks(seconds, clicks):
    """Silence with a short tone at each of some times, float32 [samples]."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    tone = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(960) / RATE).astype(np.float32)
    for click in clicks:
        samples[round(click * RATE) :][: len(tone)] = tone
    return samples


def film(path, codec, *, seconds=2.0, clicks=CLICKS, rate=30, options=None, late=0.0, first="video"):
    """A video with sound. Frame n shows the number n; ``late`` seconds pass before the first frame."""
    samples = sound_of_clicks(seconds, clicks)
    with av.open(str(path), "w", options=options or {}) as container:
        adders = {
            "video": lambda: container.add_stream("libvpx" if path.suffix == ".webm" else "libx264", rate=rate),
            "audio": lambda: container.add_stream(codec, rate=RATE, layout="mono"),
        }
        made = {name: adders[name]() for name in (first, "audio" if first == "video" else "video")}
        video, audio = made["video"], made["audio"]
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio.codec_context.bit_rate = 64000
        form = audio.codec_context.format.name if audio.codec_context.format else "fltp"
        resampler = av.AudioResampler(form, "mono", RATE, frame_size=audio.codec_context.frame_size or 1024)
        for i in range(round(seconds * rate)):
            picture = av.VideoFrame.from_ndarray(clips.frame(i), format="bgr24")
            picture.pts, picture.time_base = i + round(late * rate), Fraction(1, rate)
            for packet in video.encode(picture):
                packet.duration = packet.duration or 1
                container.mux(packet)
            chunk = samples[i * RATE // rate : (i + 1) * RATE // rate]
            frame = av.AudioFrame.from_ndarray(chunk[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, i * RATE // rate, Fraction(1, RATE)
            for even in resampler.resample(frame):
                container.mux(audio.encode(even))
        for even in resampler.resample(None):
            container.mux(audio.encode(even))
        container.mux(audio.encode(None))
        for packet in video.encode(None):
            packet.duration = packet.duration or 1
            container.mux(packet)
    return path


def copy(spec, target, **options):
    with (
        open_source(str(spec), **options) as source,
        VideoWriter(target, rate=source.rate, tick=source.tick, sound=source.sound) as video,
    ):
        for frame in source:
            video.write(frame.image, time=frame.time, duration=frame.duration)
    assert video.notes == []
    return clips.play(target)


def heard(path):
    """Codec (MP4 does not tell MP2 from MP3), onsets of the clicks and end of the sound, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        codec, loud, end = stream.codec_context.codec.canonical_name, [], 0.0
        for frame in container.decode(stream):
            rate = frame.sample_rate
            start = end if frame.time is None else frame.time
            samples = np.abs(frame.to_ndarray()).astype(float)
            samples = samples.reshape(-1, frame.samples).max(0) if frame.format.is_planar else samples[0][::1]
            samples = samples / (1.0 if "flt" in frame.format.name else 32768.0)
            loud += [start + i / rate for i in np.flatnonzero(samples > 0.3)]
            end = start + frame.samples / rate
    onsets = [time for time, before in zip(loud, [-1.0, *loud], strict=False) if time - before > 0.2]
    return codec, onsets, end


@pytest.mark.parametrize(
    ("name", "codec", "kept"),
    [
        ("a.mp4", "aac", "aac"),
        ("a.mov", "pcm_s16le", "aac"),
        ("a.mkv", "libopus", "opus"),
        ("a.mkv", "flac", "flac"),
        ("a.mkv", "libmp3lame", "mp3"),
        ("a.mkv", "ac3", "ac3"),
        ("a.mkv", "pcm_s16le", "aac"),
        ("a.webm", "libopus", "opus"),
        ("a.ts", "aac", "aac"),
        ("a.ts", "mp2", "mp3"),
        ("a.avi", "pcm_s16le", "aac"),
        ("a.avi", "wmav2", "aac"),
    ],
)
def test_sound_is_kept_in_step_as_it_is_or_as_aac(tmp_path, name, codec, kept):
    source = film(tmp_path / name, codec)
    with av.open(str(source)) as container:
        begin = float(next(container.decode(video=0)).time)
    _, expected, _ = heard(source)
    played = copy(source, tmp_path / "out.mp4")
    assert (played.frames, played.numbers) == (60, list(range(60)))
    found, onsets, end = heard(tmp_path / "out.mp4")
    assert found == kept
    assert onsets == pytest.approx([time - begin for time in expected], abs=0.012)
    assert 1.9 < end < 2.1


def test_sound_starts_with_the_first_frame(tmp_path):
    copy(film(tmp_path / "a.mkv", "libopus", late=0.7), tmp_path / "out.mp4")
    assert heard(tmp_path / "out.mp4")[1] == pytest.approx([0.4, 1.0], abs=0.012)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_ends_with_the_last_frame_that_is_taken(tmp_path, codec):
    source = film(tmp_path / "a.mov", codec, first="audio")
    copy(source, tmp_path / "out.mp4", max_frames=40)
    _, onsets, end = heard(tmp_path / "out.mp4")
    assert onsets == pytest.approx([0.5, 1.1], abs=0.012)
    assert 1.3 < end < 1.4


def test_sound_stays_in_step_with_a_stride(tmp_path):
    copy(film(tmp_path / "a.mp4", "aac"), tmp_path / "out.mp4", stride=3)
    assert heard(tmp_path / "out.mp4")[1] == pytest.approx(CLICKS, abs=0.012)


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_sound_stays_in_step_behind_a_restart_of_the_clock(tmp_path, codec):
    part = film(tmp_path / "a.ts", codec).read_bytes()
    (tmp_path / "aa.ts").write_bytes(part + part)
    assert copy(tmp_path / "aa.ts", tmp_path / "out.mp4").duration == 4
    onsets = heard(tmp_path / "out.mp4")[1]
    assert onsets == pytest.approx([*CLICKS, *(2 + time for time in CLICKS)], abs=0.035)


def test_damaged_sound_does_not_end_the_video(tmp_path):
    path = film(tmp_path / "a.avi", "wmav2")
    with av.open(str(path)) as container:
        positions = [p.pos for p in container.demux(audio=0) if p.size]
    data = bytearray(path.read_bytes())
    for position in positions[5:15]:
        data[position + 10 : position + 30] = bytes(20)
    path.write_bytes(data)
    assert copy(path, tmp_path / "out.mp4").frames == 60


def test_a_video_without_sound_gets_none(tmp_path):
    copy(clips.clip(tmp_path / "a.mp4"), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


@pytest.mark.parametrize(("options", "streams"), [([], 1), (["--no-audio"], 0)])
def test_the_command_line_keeps_sound_or_drops_it(tmp_path, semantic_engine, segopt_cli, options, streams):
    source = film(tmp_path / "a.mp4", "aac")
    status, _, _ = segopt_cli("run", source, "--engine", semantic_engine, "--output", tmp_path / "out", *options)
    assert status == 0
    with av.open(str(tmp_path / "out" / "a-overlay.mp4")) as container:
        assert len(container.streams.audio) == streams
