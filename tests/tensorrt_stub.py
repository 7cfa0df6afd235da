"""Compares a TensorRT module with what `typings/tensorrt` says of it; needs neither pytest nor segopt.

As a script it loads the bindings of a wheel, over libraries that only have the functions' names, and prints what
is missing as a JSON list: `python tensorrt_stub.py typings/tensorrt/__init__.pyi FOLDER`.
"""

import ast
import json
import re
import sys
from pathlib import Path


def classes(body, prefix=""):
    """Names and nodes of a stub's public classes, nested ones too."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            yield from classes(node.body, f"{prefix}{node.name}.")


def missing(module, stub):
    """What a stub (an `ast.Module`) names and a module lacks, or has with other arguments."""
    found = []
    for name, node in classes(stub.body):
        try:
            owner = module
            for part in name.split("."):
                owner = getattr(owner, part)
        except AttributeError:
            found.append(name)
            continue
        for member in node.body:
            if isinstance(member, ast.AnnAssign) and not hasattr(owner, member.target.id):
                found.append(f"{name}.{member.target.id}")
            if isinstance(member, ast.FunctionDef) and not _has(owner, member):
                found.append(f"{name}.{member.name}({', '.join(_arguments(member))})")
    functions = [node.name for node in stub.body if isinstance(node, ast.FunctionDef)]
    return found + [name for name in functions if not hasattr(module, name)]


def _has(owner, function):
    if function.name == "__iter__":
        return list(owner((2, 3))) == [2, 3]
    if any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list):
        return isinstance(getattr(owner, function.name, None), property)
    method = getattr(owner, function.name, None)
    return method is not None and _arguments(function) in signatures(method)


def _arguments(function):
    return [argument.arg for argument in function.args.args[1:]]


def signatures(method):
    """Argument names of each overload, without self, from the docstring that pybind11 writes."""
    lines = re.findall(rf"^(?:\d+\. )?{method.__name__}\(self: (.*)\) -> ", method.__doc__, re.MULTILINE)
    return [re.findall(r", (\w+): ", line) for line in lines]


if __name__ == "__main__":
    _stub, _folder = sys.argv[1:]
    sys.path.insert(0, _folder)
    import tensorrt_bindings

    print(json.dumps(missing(tensorrt_bindings, ast.parse(Path(_stub).read_text(encoding="utf-8")))))
