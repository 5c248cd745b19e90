"""Who may use the server: the names by which it is addressed, and the token of servers that others can reach."""

import hmac
import ipaddress
import secrets
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

MIN_TOKEN = 16
"""Shortest token, in characters."""
LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class Access(NamedTuple):
    """Names and token of a server."""

    hosts: frozenset[str]
    """Names and addresses by which the server may be addressed, in lower case."""
    any_address: bool
    """Whether every numeric address is accepted as well; a name of another site is never one."""
    token: str | None
    """Required with each request; None: the server can be reached from this machine only."""

    def accepts_host(self, netloc: str | None) -> bool:
        """Return whether a `Host` header names this server, so that no other site's name leads here (DNS rebinding)."""
        name = host_of(netloc or "")
        return name in self.hosts or (self.any_address and _is_address(name))

    def accepts_token(self, given: str | None) -> bool:
        """Return whether a token is the right one, in a time that does not depend on it."""
        return self.token is None or hmac.compare_digest((given or "").encode(), self.token.encode())


def access(host: str, token: str | None) -> Access:
    """Return who may use a server that listens on an address.

    Args:
        host: address or name to listen on. Other machines can reach all but those of this machine itself.
        token: secret that clients must send; None: none on this machine, and a new one elsewhere.

    Raises:
        ValueError: the token is too short, or has characters that a header cannot have.
    """
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isalnum()):
        raise ValueError(
            f"expected a token of {MIN_TOKEN} letters and digits or more, got {len(token)} characters; a short one can "
            "be found by trying. Leave --token out, and one is made"
        )
    if is_loopback(host):
        return Access(LOOPBACK | {host.lower()}, any_address=False, token=token)
    names = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return Access(LOOPBACK | names, any_address=True, token=token or secrets.token_hex(16))


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_of(netloc: str) -> str:
    """Return the name or address in a `Host` header, without the port; empty if there is none."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
