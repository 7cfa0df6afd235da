"""Sources in an object store: a real S3 API, that of moto's server, through pyarrow."""

import pytest

import clips
import tiny
from segopt.errors import SourceError
from segopt.labeling.listing import find_files
from segopt.labeling.run import Request, in_this_process, label


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """Files in it, and what follows the ``?`` of their URIs."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed; `make test-scale` installs it")
    moto = pytest.importorskip("moto.server", reason="moto is not installed; `make test-scale` installs it")
    from pyarrow.fs import S3FileSystem, copy_files

    folder = tmp_path_factory.mktemp("lake")
    clips.pictures(folder / "in", ["1.png", "2.png"])
    clips.clip(folder / "in" / "street.mp4", 3)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"access_key": "key", "secret_key": "secret", "region": "eu-west-1"}
    system = S3FileSystem(**keys, endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True)
    system.create_dir("lake")
    copy_files(str(folder / "in"), "lake/in", destination_filesystem=system)
    yield f"endpoint_override={host}:{port}&scheme=http&region=eu-west-1"
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def test_a_folder_a_file_and_a_glob_of_a_bucket_are_found(bucket, tmp_path):
    def names(uri):
        return [file.name for file in find_files([uri], tmp_path).files]

    assert names(f"s3://lake/in?{bucket}") == ["street.mp4", "1.png", "2.png"]
    assert names(f"s3://lake/in/street.mp4?{bucket}") == ["street.mp4"]
    assert names(f"s3://lake/in/*.png?{bucket}") == ["1.png", "2.png"]
    with pytest.raises(SourceError, match="has no videos and no pictures"):
        names(f"s3://lake/nothing?{bucket}")


def test_what_is_in_a_bucket_is_labeled_as_what_is_here(bucket, tmp_path):
    engine = tiny.panoptic_engine(tmp_path / "e.onnx")
    clips.pictures(tmp_path / "in", ["1.png", "2.png"])
    clips.clip(tmp_path / "in" / "street.mp4", 3)
    for source, output in ((f"s3://lake/in?{bucket}", "there"), (str(tmp_path / "in"), "here")):
        outcome = label(Request(engine, [source], tmp_path / output, device="cpu"), in_this_process)
        assert not outcome.failed
        assert outcome.images == 5
    there, here = (
        {path.relative_to(folder): path.read_bytes() for path in (folder / "panoptic").rglob("*.*")}
        for folder in (tmp_path / "there", tmp_path / "here")
    )
    assert there == here
    assert (tmp_path / "there/panoptic.json").read_bytes() == (tmp_path / "here/panoptic.json").read_bytes()
