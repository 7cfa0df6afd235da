"""Fetches published weights files, once, and checks their hashes."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import torch
from torchvision.models import WeightsEnum

from segopt.errors import ExportError, SegoptError
from segopt.files.atomic import FULL_ERRNOS
from segopt.files.hashing import sha256_of_file
from segopt.files.temporary import create
from segopt_export.weights.file_kinds import kind_of

MIRROR_VARIABLE = "SEGOPT_WEIGHTS_MIRROR"
"""Environment variable: a URL that holds torchvision's weight files, for networks without access to PyTorch's."""

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
"""So long a server may say nothing before the download ends."""
MAX_BYTES = 4 << 30
_BLOCK = 1 << 18


def default_url(weights: WeightsEnum) -> str:
    """Where torchvision's best weights are, or where the mirror has them."""
    return mirrored(str(weights.url))


def mirrored(url: str) -> str:
    """The same file at the mirror, where one is named.

    Raises:
        ExportError: the mirror is no URL.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return url
    if not _is_web(mirror):
        raise ExportError(
            f"{MIRROR_VARIABLE} is {mirror!r}, and must be a URL that begins with https:// (or http://); for a "
            "file that is here already, give --weights FILE"
        )
    return f"{mirror.rstrip('/')}/{Path(urlparse(url).path).name}"


def download(url: str, *, sha256: str | None = None) -> Path:
    """Fetch a weights file into torch.hub's cache, once, and check its hash.

    Args:
        url: where the file is.
        sha256: its first digits; empty where they are not known, and then the connection must be HTTPS. None takes
            them from the file's name, which has them in torchvision's case: ``NAME-0123abcd.pth``.

    Raises:
        ExportError: it cannot be fetched, or is not the file that its name promises.
    """
    name = Path(urlparse(url).path).name
    cached = Path(torch.hub.get_dir()) / "checkpoints" / name
    digits = Path(name).stem.rpartition("-")[2] if sha256 is None else sha256
    if cached.exists():
        if not sha256_of_file(cached).startswith(digits):
            raise ExportError(
                f"{cached}: is damaged (its hash is another than it must be); delete it and try again"
            )
        return cached
    if not _is_web(url):
        raise ExportError(f"{url}: is no https:// or http:// URL; {_offline_fix(name)}")
    if not digits and not _is_private(url):
        raise ExportError(
            f"{url}: nobody published this file's hash, so it is fetched through https:// alone; "
            f"{_offline_fix(name)}"
        )
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = create(cached, "tmp")
    except OSError as error:
        raise ExportError(f"{cached}: cannot be written ({error.strerror}); {_offline_fix(name)}") from None
    try:
        _fetch(url, temporary)
        _check(temporary, url, digits, name)
        temporary.replace(cached)
    except urllib.error.HTTPError as error:
        raise ExportError(
            f"{url}: the server answers {error.code} ({_one_line(error.reason)}); {_offline_fix(name)}"
        ) from None
    except TimeoutError:
        raise ExportError(
            f"{url}: the server said nothing for {IDLE_SECONDS:g} s (or {CONNECT_SECONDS:g} s while connecting); "
            f"try again, or {_offline_fix(name)}"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.errno in FULL_ERRNOS:
            raise ExportError(f"{cached}: cannot be written ({error.strerror}); free some space") from None
        raise ExportError(f"{url}: cannot be downloaded ({_reason(error)}); {_offline_fix(name)}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(descriptor)
    return cached


def _fetch(url: str, path: Path) -> None:
    """Fetch a file, as long as bytes keep coming."""
    request = urllib.request.Request(url, headers={"User-Agent": "segopt"})
    opener = urllib.request.build_opener(_Http, _Https, _Redirect)
    try:
        answer = opener.open(request, timeout=CONNECT_SECONDS)
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise error.reason from None
        raise
    with answer, path.open("wb") as file:
        size = _length(answer)
        received = 0
        with _progress(url, size) as show:
            while block := answer.read(_BLOCK):
                file.write(block)
                received += len(block)
                show(received)
                if received > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES >> 30} GiB came")
    if size is not None and received != size:
        raise ValueError(f"the connection broke off after {received} of {size} bytes")


def _length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length")
    return int(text) if text is not None and text.isdecimal() else None


@contextlib.contextmanager
def _progress(url: str, size: int | None) -> Iterator[Any]:
    """Show how much has come, in one line of a terminal."""
    shown = -1
    visible = sys.stderr.isatty()

    def show(received: int) -> None:
        nonlocal shown
        if visible and received >> 20 != shown:
            shown = received >> 20
            total = f" of {size >> 20}" if size else ""
            print(f"\r{Path(url).name}: {shown}{total} MiB ", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown >= 0:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _check(path: Path, url: str, digits: str, name: str) -> None:
    if digits and sha256_of_file(path).startswith(digits):
        return
    problems = ["its hash differs"] if digits else []
    try:
        kind_of(path)
    except SegoptError as error:
        problems.append("it " + str(error).removeprefix(f"{path}: "))
    if problems:
        raise ExportError(
            f"{url}: what came is not the file that was published ({', and '.join(problems)}); try again, or "
            f"{_offline_fix(name)}"
        )


class _Patient:
    """Connects within one time limit, and then waits for bytes within another."""

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        sock: Any = self.sock  # type: ignore[attr-defined]
        sock.settimeout(IDLE_SECONDS)


class _HttpConnection(_Patient, http.client.HTTPConnection):
    pass


class _HttpsConnection(_Patient, http.client.HTTPSConnection):
    pass


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpConnection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpsConnection, req)


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, but to no file and to no less safe connection."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not _is_web(newurl) or (req.type == "https" and urlparse(newurl).scheme != "https"):
            raise urllib.error.URLError(f"the server sends on to {_one_line(newurl)}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_web(url: str) -> bool:
    try:
        parts = urlparse(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False


def _is_private(url: str) -> bool:
    """Whether nobody on the way can change what comes: HTTPS, or this machine."""
    parts = urlparse(url)
    host = parts.hostname or ""
    with contextlib.suppress(ValueError):
        return parts.scheme == "https" or ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return _one_line(str(reason) or type(error).__name__)


def _one_line(text: object) -> str:
    """What a server said, fit for a message."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:200]


def _offline_fix(name: str) -> str:
    return f"give {name} as a file, or take --weights demo or --weights random, which need no network"
