"""Files that the master sends to hosts: the code that is shipped, slices, and what is said of a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from prealloc.engines.hosts import wire
from prealloc.engines.hosts.roster import RemoteHost
from prealloc.engines.hosts.shared import Shared
from prealloc.engines.hosts.ship import packed
from prealloc.model.plan import SliceRef
from prealloc.store.slices import Slice


class Files:
    """Each file goes by its digest, and to each host once."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._made: dict[str, bytes] = {}
        """Files that are made, not read, by digest."""
        self.code: str | None = None
        """The digest of the code that is shipped."""

    def take_code(self) -> None:
        """Packs what is to be shipped. Raises what `packed` does."""
        if self._shared.options.ship is not None:
            self.code = self.keep(packed(Path(self._shared.options.ship)))

    def keep(self, raw: bytes) -> str:
        """Holds a file that is made, until it is dropped. Gives its digest."""
        digest = hashlib.sha256(raw).hexdigest()
        self._made[digest] = raw
        return digest

    def drop(self, digest: str) -> None:
        """No host needs it any more."""
        self._made.pop(digest, None)

    def send(self, host: RemoteHost, sha256: str) -> None:
        """A file that is held here, once per host."""
        if sha256 not in host.held:
            self._send(host, sha256, self._made[sha256])

    def send_slice(self, host: RemoteHost, ref: SliceRef) -> None:
        """Once per host."""
        if ref.sha256 not in host.held:
            self._send(host, ref.sha256, Slice(self._shared.session.paths.plan, ref).checked().raw)

    def _send(self, host: RemoteHost, sha256: str, raw: bytes) -> None:
        host.held.add(sha256)
        host.mention_bulk(_pieces(sha256, raw))

    def send_again(self, host: RemoteHost) -> None:
        """What was on its way when the connection ended."""
        if self.code is not None:
            self.send(host, self.code)
        for given in host.jobs.values():
            self.send_slice(host, given.job.manifest.slice)
            self.send(host, given.file)


def _pieces(sha256: str, raw: bytes) -> Iterator[tuple[wire.Blob, memoryview]]:
    for offset in range(0, max(1, len(raw)), wire.PIECE):
        yield wire.Blob(sha256, offset, len(raw)), memoryview(raw)[offset : offset + wire.PIECE]
