"""What an export replaces, and what it never does."""

import pytest
import torch
from onnx import TensorProto, helper, save

import tiny
from segopt.errors import ExportError, SinkError
from segopt_export.exporter import export
from segopt_export.onnx_file.output import check_output
from segopt_export.request import ExportRequest


def onnx_of_others(path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    save(helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])), path)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("mine.safetensors", lambda path: path.write_bytes(b"\x02\0\0\0\0\0\0\0{}")),
        ("mine.pth", lambda path: torch.save({"a": torch.zeros(2)}, path)),
        ("photo.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n")),
        ("notes.onnx", lambda path: path.write_text("notes")),
        ("theirs.onnx", onnx_of_others),
    ],
)
def test_a_file_that_no_export_made_is_not_replaced(name, make, tmp_path):
    path = tmp_path / name
    make(path)
    before = path.read_bytes()
    # Before any work: these weights do not even exist.
    with pytest.raises(ExportError) as error:
        export(ExportRequest("semantic", output=path))
    assert str(error.value).startswith(f"{path}: exists, and is no file that segopt exported")
    assert path.read_bytes() == before


def test_a_file_of_an_export_an_empty_one_and_a_new_one_may_be_written(tmp_path):
    check_output(tiny.semantic_engine(tmp_path / "older.onnx"))
    (tmp_path / "empty.onnx").touch()
    check_output(tmp_path / "empty.onnx")
    check_output(tmp_path / "new" / "model.onnx")
    with pytest.raises(SinkError):
        check_output(tmp_path)
