"""Logs of shards, on their way from a host to the master: what has been added since they were sent last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prealloc.engines.hosts import wire
from prealloc.engines.hosts.link import Link
from prealloc.files.paths import RunPaths


class Logs:
    """Of one host, which writes them to its own folder."""

    def __init__(self, paths: RunPaths, numbered: wire.Numbered) -> None:
        self._paths = paths
        self._numbered = numbered
        self._sent: dict[str, int] = {}
        """How much of each shard's log has been sent."""
        self.whole = False
        """Long ones are sent from their beginning to their end, not both ends alone."""

    @property
    def shards(self) -> frozenset[str]:
        """Those of which something was sent."""
        return frozenset(self._sent)

    def send(self, shard: str, link: Link) -> None:
        """What has been added to a shard's log, when nothing else waits."""
        path, begin = self._paths.log(shard), self._sent.get(shard, 0)
        size = path.stat().st_size if path.exists() else 0
        if size < begin:  # it was cut
            begin = 0
        self._sent[shard] = size
        if size > begin:
            link.feed(self._frames(shard, path, begin, size))

    def _frames(self, shard: str, path: Path, begin: int, size: int) -> Iterator[bytes]:
        spans = [(begin, size)]
        if size - begin > 2 * wire.END_LOG and not self.whole:
            spans = [(begin, begin + wire.END_LOG), (size - wire.END_LOG, size)]
        with open(path, "rb") as file:
            for number, (start, end) in enumerate(spans):
                if number:
                    cut = f"\n[prealloc: {start - spans[0][1]} bytes are on the host alone: {path}]\n".encode()
                    yield self._numbered.plain(wire.Log(shard), cut)
                file.seek(start)
                while start < end and (raw := file.read(min(wire.PIECE, end - start))):
                    start += len(raw)
                    yield self._numbered.plain(wire.Log(shard), raw)
