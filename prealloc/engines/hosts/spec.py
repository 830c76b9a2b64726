"""What a host is told so that it can join a run, and the keys that are in it.

One self-signed certificate per run, which is all that its hosts trust, and one token per host, which the master
checks before it listens to anything else. Both are void when the run ends. They reach a host through a file that only
its owner can read, or on its standard input; never on a command line, in an environment or in a log.
"""

from __future__ import annotations

import datetime
import os
import secrets
import ssl
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from prealloc.errors import EngineError, RunFolderError
from prealloc.files.atomic import must_write
from prealloc.model.document import UNREADABLE
from prealloc.model.words import brief

_DAYS = 400
_HINT = "it is made anew by each run with ‹engine› hosts"


class HostSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a host finds the master, and what it may do there."""

    format: Literal["prealloc.host"] = "prealloc.host"
    version: Literal[1] = 1
    name: str
    addresses: tuple[str, ...]
    """Of the master, to be tried in this order."""
    port: int
    certificate: str
    """PEM: the one that the master must show."""
    token: str
    lease_s: float
    """For how long the host goes on without a word from the master."""
    room: int | None = None
    """Shards at once; None: as memory allows."""
    spool: str | None = None
    """A folder for what the host writes; None: a temporary one, removed at the end."""

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


def read_spec(raw: bytes, where: str) -> HostSpec:
    """Raises RunFolderError if it is none."""
    try:
        return msgspec.json.decode(raw, type=HostSpec)
    except UNREADABLE as error:
        raise RunFolderError(f"it does not say how to join a run: {brief(error)}", where=where, hint=_HINT) from None


def write_spec(path: Path, spec: HostSpec) -> None:
    """Into a file that only its owner can read."""
    with must_write(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(spec.encoded())


def new_token() -> str:
    return secrets.token_urlsafe(32)


class Identity(NamedTuple):
    """The master's certificate, and the context in which it listens with it."""

    certificate: str
    context: ssl.SSLContext


def new_identity() -> Identity:
    """Raises EngineError if the package for it is missing."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise needs_extra(error) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "prealloc run")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with must_write("a key for the links to hosts", EngineError), tempfile.NamedTemporaryFile() as file:  # mode 0600
        file.write(pem + private)
        file.flush()
        context.load_cert_chain(file.name)
    return Identity(pem.decode(), context)


def trusting(certificate: str) -> ssl.SSLContext:
    """A context in which nothing but this certificate is trusted, whatever the address is called."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=certificate)
    return context


def needs_extra(error: ImportError) -> EngineError:
    """The error for a package that is missing."""
    return EngineError(
        f"hosts need the package {error.name}, which is not installed", hint="pip install 'prealloc[hosts]'"
    )
