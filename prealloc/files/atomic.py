"""Whole or not at all: files and folders are built beside their place and renamed into it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prealloc.errors import CannotGoOn, InputError
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import readable_name
from prealloc.model.words import listed

try:
    import resource
except ImportError:  # pragma: no cover  # Windows has no such limits
    resource = None  # type: ignore[assignment]

MORE_PROCESSES = "allow more processes (`ulimit -u`, the pids limit of the control group)"
_DISK_ERRNO = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def write_file(path: Path, content: bytes, *, fsync: bool = False, by_way_of: Path | None = None) -> None:
    """Puts `content` at `path`: a reader sees the old file or the new one, never a part.

    `by_way_of` is the folder to build it in, for folders where a file left behind by a kill would be in the way;
    it must be of the same file system.
    """
    write_pieces(path, (content,), fsync=fsync, by_way_of=by_way_of)


def write_pieces(
    path: Path, pieces: Iterable[bytes | memoryview], *, fsync: bool = False, by_way_of: Path | None = None
) -> None:
    """The same for content that comes in pieces."""
    with _beside(path, by_way_of or path.parent, os.rename) as beside, open(beside, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        if fsync:
            os.fsync(file.fileno())
    if fsync:
        fsync_folder(path.parent)


@contextlib.contextmanager
def new_path(target: Path, *, replace: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Gives the path of an empty file to fill, and puts it at `target` if the block ends well; else removes it.

    With `replace` a file that is there is replaced; `replace` is given it before, and raises if it must stay. Raises
    InputError if there is one, and no `replace`, or if no file can be made there; CannotGoOn if the disk is full.
    """
    with writing(target, InputError, otherwise="name another place, in a folder that you may write to"):
        if target.is_dir():
            raise InputError("this is a folder", where=str(target), hint="name the file to write")
        refuse_taken(target, replace)
        with _beside(target, target.parent, os.rename if replace else _rename_file_to_new) as beside:
            yield beside


def refuse_taken(target: Path, replace: Callable[[Path], None] | None) -> None:
    """Raises InputError if something is at `target` that must stay, or if the folder that it is to be in is missing.

    Nobody makes a folder by a slip of the hand.
    """
    if not target.parent.is_dir():
        hint = f"make the folder {target.parent} and check that you may write to it"
        raise InputError("nothing can be made there: there is no such folder", where=str(target), hint=hint)
    if is_taken(target):
        if replace is None:
            raise _there_already(target)
        replace(target)


def _there_already(target: Path) -> InputError:
    return InputError("it already exists", where=str(target), hint="name another one, or give ‹force›")


@contextlib.contextmanager
def _beside(target: Path, folder: Path, put: Callable[[Path, Path], None]) -> Iterator[Path]:
    """An empty file in the folder, which `put` brings to `target` if the block ends well; else it is removed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", dir=folder)
    beside = Path(name)
    try:
        os.close(descriptor)
        fault_point(Point.FILE_WRITE)
        yield beside
        beside.chmod(0o666 & ~umask())
        fault_point(Point.FILE_RENAME)
        put(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _rename_file_to_new(beside: Path, target: Path) -> None:
    """Renames without ever replacing: a file that came into being meanwhile is somebody's."""
    try:
        os.link(beside, target)
    except FileExistsError:
        raise _there_already(target) from None
    except OSError:  # a file system without hard links
        os.rename(beside, target)
        return
    os.unlink(beside)


@contextlib.contextmanager
def writing(target: Path, refuse: type[InputError], *, otherwise: str = "choose another ‹out›") -> Iterator[None]:
    """Turns what the system says of writing to `target` into an error of ours.

    A place that cannot be written to was the wrong place: `refuse`, with the hint `otherwise`. A disk that is full
    or broken is not the user's mistake: CannotGoOn.
    """
    if "\0" in str(target):
        raise refuse("a path cannot contain a zero character", where=repr(str(target)), hint=otherwise)
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _DISK_ERRNO:
            hint = f"{hint_of(error, target) or 'fix the disk'}, then do it again; nothing was changed"
            raise CannotGoOn(f"it cannot be written: {reason}", where=str(target), hint=hint) from error
        raise refuse(f"it cannot be made: {reason}", where=str(target), hint=otherwise) from error


@contextlib.contextmanager
def must_write(target: Path | str, error: type[CannotGoOn] = CannotGoOn) -> Iterator[None]:
    """The same in the middle of a run, where it is not the caller's mistake: what the system refuses stops it.

    Raises `error`. How to go on then is left to the caller, who knows the run.
    """
    try:
        yield
    except OSError as refusal:
        reason = refusal.strerror or str(refusal)
        raise error(f"the system refuses it: {reason}", where=str(target), hint=hint_of(refusal, target)) from refusal


def hint_of(refusal: OSError, target: Path | str) -> str | None:
    """How the system gets back what it is short of (room on this path's disk, open files, processes); None: unknown."""
    if refusal.errno == errno.EMFILE and resource is not None:
        limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = "" if most == resource.RLIM_INFINITY else f", up to {most} without root"
        return f"a process may have {limit} files open: raise that (`ulimit -n`{allowed}), or lower workers"
    if refusal.errno == errno.EAGAIN:
        return MORE_PROCESSES
    if refusal.errno == errno.ENFILE:
        return "the system's table of open files is full (fs.file-max): raise that, or find what has so many open"
    if refusal.errno == errno.EDQUOT:
        return "your quota there is used up: remove files, or have it raised"
    if refusal.errno == errno.ENOSPC:
        return f"{_what_is_full(Path(target))}, and remove files there"
    return None


def _what_is_full(target: Path) -> str:
    for folder in (target, *target.parents):
        with contextlib.suppress(OSError):
            disk = os.statvfs(folder)
            # Not whether none is left: what could not be made whole has been removed again. Some disks count no inodes.
            if disk.f_files and disk.f_favail / disk.f_files < disk.f_bavail / max(1, disk.f_blocks):
                return "its disk is short of inodes, not of space: see `df -i`"
            break
    return "its disk is short of space: see `df -h`"


def is_taken(target: Path) -> bool:
    """Whether something is at `target`, other than an empty folder. Raises OSError for a place that cannot be."""
    try:
        with os.scandir(target) as entries:
            return any(True for _ in entries)
    except FileNotFoundError:
        return os.path.lexists(target)  # a link that leads nowhere
    except NotADirectoryError:
        return os.path.lexists(target)  # a file; or its parent is one, and then making it tells


def refuse_strangers(folder: Path, is_ours: Callable[[str], bool], refuse: type[InputError], what: str) -> None:
    """Raises `refuse` if in `folder`, which is to be replaced as a `what`, there is anything that is not part of one.

    `is_ours` judges a file by its name within the folder (`shards/a.json`), a folder by its name and a `/`. A link is
    never ours: prealloc makes none.
    """
    if strangers := sorted(_strangers(folder, is_ours)):
        raise refuse(
            f"it holds what is not part of a {what}, so ‹force› leaves it alone: {listed(strangers)}",
            where=str(folder),
            hint="move that to another place, or name another folder",
        )


def _strangers(folder: Path, is_ours: Callable[[str], bool], below: str = "") -> Iterator[str]:
    with os.scandir(folder / below) as entries:
        for entry in entries:
            name = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                if is_ours(f"{name}/"):
                    yield from _strangers(folder, is_ours, f"{name}/")
                else:
                    yield readable_name(f"{name}/")
            elif not (entry.is_file(follow_symlinks=False) and is_ours(name)):
                yield readable_name(name)


@contextlib.contextmanager
def new_folder(target: Path, *, replace: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Gives a folder to fill, and puts it at `target` if the block ends well; else removes it.

    With `replace` a folder that is there is exchanged for the new one in one step, then removed; `replace` is given it
    in the last moment before, and raises if it must stay. Of a link it is the folder behind it that is replaced.
    Raises FileExistsError if there is one, and no `replace`.
    """
    target = target.resolve() if target.is_symlink() else target
    with _parents_of(target):
        fault_point(Point.FOLDER_MAKE)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            beside.chmod(0o777 & ~umask())
            yield beside
            if replace is None or not is_taken(target):
                fault_point(Point.FOLDER_RENAME)
                _rename_to_new(beside, target)
            else:
                replace(target)
                fault_point(Point.FOLDER_EXCHANGE)
                exchange(beside, target)
                fault_point(Point.FOLDER_REMOVE)
        finally:
            # After an exchange this is the old folder; after a plain rename there is nothing left here.
            shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def _parents_of(target: Path) -> Iterator[None]:
    """Makes the folders that `target` is to lie in, and removes those again where nothing came into them."""
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def exchange(one: Path, other: Path) -> None:
    """Swaps two paths in one step where the system can, else in two renames through a third name."""
    if exchange_in_one_step(one, other):
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{other.name}.", dir=other.parent))
    try:
        os.rename(other, aside)  # onto an empty folder: allowed, and atomic
        os.rename(one, other)
    finally:  # a signal may end this between two steps: what was at `other` must not stay aside
        if is_taken(aside):
            os.rename(aside, one if is_taken(other) else other)
        else:
            os.rmdir(aside)


def exchange_in_one_step(one: Path, other: Path) -> bool:
    """Swaps two paths. False: this system or file system cannot, and nothing was changed."""
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return done == 0


def fsync_folder(folder: Path) -> None:
    """Makes the names in a folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file at `target`, as a hard link where the file system has them, and never as a link to a link."""
    fault_point(Point.FOLDER_COPY)
    real = os.path.realpath(source)
    try:
        os.link(real, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(real, target)


def _rename_to_new(beside: Path, target: Path) -> None:
    # rename(2) replaces an empty folder in silence; one with content it refuses.
    if is_taken(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(beside, target)


def umask() -> int:
    """The permissions that the user wants no new file to have."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
