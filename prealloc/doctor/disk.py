"""What a file system does with the things that plans and runs do on it: each is done once, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

from prealloc.doctor.finding import Finding, ok, problem, warning
from prealloc.files.atomic import exchange, exchange_in_one_step, new_folder, write_file
from prealloc.files.temporary import left_alone
from prealloc.model.words import listed, size

LITTLE_BYTES = 2**30
NO_BYTES = 64 * 2**20
FEW_FILES = 1000
LINES = 20
LINE = b"x" * 1023 + b"\n"
FIRST = 10
"""Folders that are named."""
FSYNC_MOST_S = 2.0
SLOW_FSYNC_MS = 50.0
NETWORK = frozenset({"9p", "afs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}) | {
    f"fuse.{name}" for name in ("ceph", "glusterfs", "juicefs", "rclone", "s3fs", "sshfs")
}


def check_space(folder: Path) -> Finding:
    """Free bytes, and free files where the file system counts them."""
    free = shutil.disk_usage(folder).free
    seen = f"{size(free)} free"
    if hasattr(os, "statvfs"):
        told = os.statvfs(folder)
        if told.f_files:
            seen += f", room for {told.f_favail:,} files"
            if told.f_favail < FEW_FILES:
                return problem("space", seen, "remove files: a run makes a few for each worker", where=str(folder))
    return judge_space(free, seen, str(folder))


def judge_space(free: int, seen: str, where: str) -> Finding:
    """A run with results of megabytes fills a gigabyte in an hour."""
    hint = "free some space before a run: a run stops if an outcome cannot be saved"
    if free < NO_BYTES:
        return problem("space", seen, hint, where=where)
    return warning("space", seen, hint, where=where) if free < LITTLE_BYTES else ok("space", seen)


def check_left(places: Iterable[Path]) -> Finding:
    """Folders that killed processes may have left, and that prealloc does not remove."""
    left = [str(folder) for place in places for folder in left_alone(place)]
    if not left:
        return ok("leftovers", "killed processes have left no temporary folder")
    many = "a temporary folder" if len(left) == 1 else f"{len(left)} temporary folders"
    seen = f"{many} of an earlier boot or another machine, or without a lock: {listed(sorted(left), FIRST)}"
    return warning("leftovers", seen, "remove them unless a run of yours still uses them")


def check_file_system(folder: Path) -> Finding:
    """Its type. On a network it may keep locks between processes but not between machines; that is not visible here."""
    import psutil

    place = folder.resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    mount = next((parent for parent in (place, *place.parents) if parent in mounts), None)
    return judge_file_system(mounts[mount], str(mount)) if mount else ok("file system", "of unknown type")


def judge_file_system(type: str, mount: str) -> Finding:
    """Local ones are as good as their locks."""
    if type in NETWORK:
        return warning(
            "file system",
            f"{type}, over a network: locks may not hold between machines, and each line costs a round trip",
            "keep run folders on a local disk, or start a run and its resumes on one machine only",
            where=mount,
        )
    return ok("file system", f"{type}, mounted at {mount}")


def check_rename(folder: Path) -> list[Finding]:
    """Replacing a file, making a folder whole, exchanging two folders."""
    target = folder / "file"
    for content in (b"old", b"new"):
        write_file(target, content)
    if target.read_bytes() != b"new":
        return [problem("rename", "a replaced file still has its old content", "use another file system")]
    found = [ok("rename", "files and folders are replaced in one step")]
    one, two = folder / "one", folder / "two"
    for each in (one, two):
        with new_folder(each) as made:
            (made / each.name).touch()
    at_once = exchange_in_one_step(one, two)
    if not at_once:
        exchange(one, two)
    if not (one / "two").exists() or not (two / "one").exists():
        return [*found, problem("exchange", "two folders were exchanged without effect", "use another file system")]
    if at_once:
        return [*found, ok("exchange", "two folders are exchanged in one step")]
    seen = "two folders are exchanged in two steps: while a plan is replaced, there is no plan for a moment"
    return [*found, warning("exchange", seen, "do not replace a plan (‹force›) while it is being read")]


def check_links(folder: Path) -> Finding:
    """A run's copy of its plan is made of hard links where there are any."""
    source, link = folder / "linked", folder / "link"
    source.write_bytes(b"slice")
    try:
        os.link(source, link)
    except OSError as error:
        seen = f"none here ({error.strerror}): each run copies the bytes of its plan"
        return warning("hard links", seen, "keep space for a copy of the plan per run")
    if link.samefile(source):
        return ok("hard links", "a run shares the bytes of its plan")
    return warning("hard links", "a hard link is not the same file", "keep space for a copy of the plan per run")


def check_append(folder: Path) -> Finding:
    """Appends lines as a journal does and flushes each to the device, as --fsync does."""
    written_ms: list[float] = []
    flushed_ms: list[float] = []
    path = folder / "journal.jsonl"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
    began = time.monotonic()
    try:
        while len(flushed_ms) < LINES and time.monotonic() - began < FSYNC_MOST_S:
            start = time.perf_counter()
            os.write(descriptor, LINE)
            middle = time.perf_counter()
            os.fsync(descriptor)
            written_ms.append((middle - start) * 1000)
            flushed_ms.append((time.perf_counter() - middle) * 1000)
    finally:
        os.close(descriptor)
    if path.read_bytes() != LINE * len(flushed_ms):
        return problem(
            "append", "the file does not hold what was appended", "use another file system", where=str(folder)
        )
    return judge_append(statistics.median(written_ms), statistics.median(flushed_ms), max(flushed_ms))


def judge_append(write_ms: float, fsync_ms: float, worst_ms: float) -> Finding:
    """Medians, and the longest flush, in milliseconds."""
    seen = f"a line of 1 kB takes {write_ms:.2f} ms, with ‹fsync› {write_ms + fsync_ms:.2f} ms (at most {worst_ms:.1f})"
    if fsync_ms > SLOW_FSYNC_MS:
        return warning("append", seen, "omit ‹fsync› unless power loss is a danger, or use a faster disk")
    return ok("append", seen)
