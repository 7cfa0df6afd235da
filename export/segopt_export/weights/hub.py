"""Weights folders from the Hugging Face hub, kept in its cache, so that they are there without a network, too."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segopt.errors import ExportError, first_line

_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def is_hub_id(spec: str) -> bool:
    """Whether a text is ``owner/name`` or ``owner/name@revision``, and no file or folder that is there."""
    if _ID.fullmatch(spec) is None or spec.startswith((".", "/")) or Path(spec).exists():
        return False
    # A file whose name was mistyped is not to be asked for elsewhere.
    return not spec.endswith((".bin", ".ckpt", ".pkl", ".pt", ".pth", ".safetensors"))


def fetch_folder(spec: str, needed: Sequence[str], one_of: Sequence[str], optional: Sequence[str]) -> Path:
    """Download some files of a model, or take them from the cache.

    The first file's commit is that of all others: a model that changes meanwhile gives no mixture.

    Args:
        spec: ``owner/name``, or ``owner/name@revision``: a branch, a tag or a commit; none is ``main``.
        needed: files that the model must have, one at least.
        one_of: of these the first that it has.
        optional: files that are taken where there are any.

    Returns:
        The folder that holds them; its name is the commit, forty hexadecimal digits.

    Raises:
        ExportError: huggingface_hub is not installed, the hub does not answer, or has no such model or file.
    """
    found = _ID.fullmatch(spec)
    assert found is not None
    name, revision = found.groups()
    folder: Path | None = None
    for file in needed:
        with _in_one_line(spec, file):
            path = _download(name, file, folder.name if folder else revision)
            folder = path.parent
    assert folder is not None
    for file in optional:
        _where_there_is_one(spec, name, file, folder.name)
    if not any(_where_there_is_one(spec, name, file, folder.name) for file in one_of):
        raise ExportError(f"{spec}: has neither {' nor '.join(one_of)}; give another model, or a folder")
    return folder


def _download(name: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    # Read here and not when huggingface_hub was first imported.
    endpoint = os.environ.get("HF_ENDPOINT") or None
    return Path(hf_hub_download(name, file, revision=revision, endpoint=endpoint))


def _where_there_is_one(spec: str, name: str, file: str, commit: str) -> bool:
    """Whether the model has a file; without a network, whether the cache has it."""
    from huggingface_hub.errors import EntryNotFoundError

    with _in_one_line(spec, file):
        try:
            _download(name, file, commit)
        except EntryNotFoundError:
            return False
    return True


@contextmanager
def _in_one_line(spec: str, file: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line."""
    try:
        from huggingface_hub import errors
    except ImportError:
        raise ExportError(
            f"{spec}: is no file or folder here, and huggingface_hub is not installed, which downloads models: "
            "pip install 'segopt[export]'"
        ) from None
    try:
        yield
    except errors.GatedRepoError:
        raise ExportError(
            f"{spec}: its owner asks for an agreement first; accept it on huggingface.co, then `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise ExportError(f"{spec}: the hub has no such revision of this model; check it") from None
    except errors.RepositoryNotFoundError:
        raise ExportError(f"{spec}: is no file or folder here, and no model of the hub; check it") from None
    except errors.LocalEntryNotFoundError:
        raise ExportError(
            f"{spec}: the hub does not answer, and {file} is not in its cache; try again, or give a folder"
        ) from None
    except errors.EntryNotFoundError:
        raise ExportError(f"{spec}: has no {file}; give another model, or a folder") from None
    except Exception as error:  # Of the client's HTTP library, which is another one in each of its versions.
        raise ExportError(f"{spec}: {file} cannot be downloaded ({first_line(error)[:200]})") from None
