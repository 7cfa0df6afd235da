"""Where a preview is served, and who may look."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from segopt.errors import UsageError

_LOOPBACK = "127.0.0.1"
_FORM = re.compile(r"^(?:(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+):)?(?P<port>[0-9]{1,5})$")


@dataclass(frozen=True)
class Address:
    """A host and port; beyond this machine with a token that a viewer must have."""

    host: str
    port: int
    """0 takes a free one."""
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``[HOST:]PORT``; without a host only this machine is served.

        Raises:
            UsageError: it is none.
        """
        match = _FORM.match(text)
        if match is None or int(match["port"]) > 65535:
            raise UsageError(f"--preview {text}: is no [HOST:]PORT; give for example 8080, or 0.0.0.0:8080")
        host = (match["host"] or _LOOPBACK).strip("[]")
        return cls(host, int(match["port"]), None if _is_loopback(host) else secrets.token_urlsafe(16))

    @property
    def family(self) -> socket.AddressFamily:
        """Of the socket."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def url(self, port: int) -> str:
        """What a viewer opens: with a name that reaches this machine, and the token."""
        host = self.host
        if host in ("0.0.0.0", "::"):
            host = _own_address()
        elif ":" in host:
            host = f"[{host}]"
        return f"http://{host}:{port}/" + (f"?token={self.token}" if self.token else "")

    def admits(self, host_header: str | None, target: str) -> bool:
        """Whether a request may be answered.

        A name in the Host header that is not this machine's comes from a page elsewhere whose name was pointed
        here (DNS rebinding).

        Args:
            host_header: of the request.
            target: its path and query.
        """
        if not self._is_own(host_header):
            return False
        if self.token is None:
            return True
        given = parse_qs(urlsplit(target).query).get("token", [""])[0]
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _is_own(self, host_header: str | None) -> bool:
        if not host_header:
            return False
        try:
            name = urlsplit(f"//{host_header}").hostname or ""
        except ValueError:
            return False
        if self.token is None:
            return name == "localhost" or _is_loopback(name)
        own = {
            "localhost",
            self.host.lower(),
            socket.gethostname().lower(),
            f"{socket.gethostname().lower()}.local",
        }
        return name in own or _is_ip(name)


def _own_address() -> str:
    """By which others reach this machine, as far as it knows: names of boards seldom resolve elsewhere."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: it only asks for the route. The address is one that documents use (RFC 5737).
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_ip(name) and ipaddress.ip_address(name).is_loopback)
