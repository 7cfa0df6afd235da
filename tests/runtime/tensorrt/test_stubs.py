"""What segopt knows of TensorRT's API is what the installed TensorRT-RTX has.

mypy lets no code use more than `typings` declares, so what is checked here is all that is used.
"""

import ast
import inspect
from pathlib import Path

import pytest

from segopt.tensorrt.flavor import RTX_ONLY
from segopt.tensorrt.module import TensorRT, TensorRtRtx
from tensorrt_stub import classes, signatures

trt = pytest.importorskip("tensorrt_rtx")

ROOT = Path(__file__).parents[3]
STUBS = {
    name: ast.parse((ROOT / f"typings/{name}/__init__.pyi").read_text()) for name in ("tensorrt", "tensorrt_rtx")
}
RTX_FILES = {"tensorrt/flavor.py", "tensorrt/module.py", "backends/tensorrt/contexts.py"}


CLASSES = [found for stub in STUBS.values() for found in classes(stub.body)]
NAMES = {name for name, _ in CLASSES}
FUNCTIONS = [
    pytest.param(name, function, id=f"{name}.{function.name}")
    for name, node in CLASSES
    for function in node.body
    if isinstance(function, ast.FunctionDef)
]
GLOBAL_FUNCTIONS = [node for node in STUBS["tensorrt"].body if isinstance(node, ast.FunctionDef)]
ATTRIBUTES = [
    (name, statement.target.id)
    for name, node in CLASSES
    for statement in node.body
    if isinstance(statement, ast.AnnAssign)
]


def names_in(stub):
    """Classes, methods and attributes that a stub declares."""
    for name, node in classes(stub.body):
        yield name
        for member in node.body:
            if isinstance(member, ast.FunctionDef):
                yield member.name
            elif isinstance(member, ast.AnnAssign):
                yield member.target.id


def find(name):
    found = trt
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_class_is_there(name):
    assert isinstance(find(name), type)


@pytest.mark.parametrize(("name", "attribute"), ATTRIBUTES)
def test_each_attribute_is_there(name, attribute):
    assert hasattr(find(name), attribute)


@pytest.mark.parametrize(("name", "function"), FUNCTIONS)
def test_each_method_is_there_with_these_arguments(name, function):
    owner = find(name)
    if function.name == "__iter__":
        assert list(owner((2, 3))) == [2, 3]
        return
    if any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list):
        assert isinstance(getattr(owner, function.name), property)
        return
    names = [argument.arg for argument in function.args.args[1:]]
    assert names in signatures(getattr(owner, function.name))


@pytest.mark.parametrize("function", GLOBAL_FUNCTIONS, ids=lambda function: function.name)
def test_each_function_is_there_with_these_arguments(function):
    arguments = [argument.arg for argument in function.args.args]
    assert list(inspect.signature(getattr(trt, function.name)).parameters) == arguments


@pytest.mark.parametrize(("protocol", "count"), [(TensorRT, 14), (TensorRtRtx, 2)])
def test_the_module_offers_what_the_protocol_names(protocol, count):
    names = [name for name in protocol.__annotations__ if not name.startswith("_")]
    assert len(names) == count
    assert [name for name in names if not hasattr(trt, name)] == []
    assert [name for name in names if name not in NAMES] == []


def test_what_rtx_alone_has_is_in_its_own_stub_alone():
    own = {name: set(names_in(stub)) for name, stub in STUBS.items()}
    assert own["tensorrt"] & RTX_ONLY == set()
    assert own["tensorrt_rtx"] >= RTX_ONLY


def test_what_rtx_alone_has_is_used_where_only_rtx_comes():
    runtime = ROOT / "runtime/segopt"
    users = {
        path.relative_to(runtime).as_posix()
        for path in runtime.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in RTX_ONLY
    }
    assert users <= RTX_FILES
    assert "tensorrt/flavor.py" in users
