"""What is refused by its first bytes, all that is not the text of a library; and commands that make one of it."""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from prealloc.errors import LibraryError
from prealloc.files.strict_json import encoding_problem
from prealloc.library.disk import head_of
from prealloc.library.unpack import name_parts, packing
from prealloc.model.words import quoted

HEAD = 512
"""Bytes by which a file is told from others."""

_READ = "JSON, JSON lines, CSV, TSV, YAML, TOML, Parquet, Arrow, SQLite and what `prealloc library convert` writes"
_INSIDE = "unpack it, and give what is inside"
_SAVED = "save it to a file, and give that"
_LINES = "write its tasks as JSON lines"
_KINDS = (
    (rb"PK\x03\x04.{26}(\[Content|_rels|docProps|xl/|mimetypeapp)", "a spreadsheet", "save it as CSV"),
    (rb"PK\x03\x04.{26}[^\0]{0,99}(\.npy|/data\.pkl)", "an archive of arrays or pickles", _LINES),
    (rb"PK\x03\x04", "a zip archive", f"{_INSIDE}: python3 -m zipfile -e FILE unpacked"),
    (rb".{257}ustar", "a tar archive", f"{_INSIDE}: mkdir unpacked && tar -xf FILE -C unpacked"),
    (rb"7z\xbc\xaf", "a 7z archive", f"{_INSIDE}: 7z x FILE -ounpacked"),
    (rb"PAR1", "Parquet, which cannot be read from a pipe", _SAVED),
    (rb"SQLite format 3", "a SQLite database, which cannot be read from a pipe", _SAVED),
    (rb"ARROW1|\xff{4}", "Arrow, which cannot be read from a pipe", _SAVED),
    (rb"\x80[\x02-\x05]", "a pickle, which prealloc never opens", _LINES),
    (rb"\x89HDF", "an HDF5 file", _LINES),
    (rb"%PDF", "a PDF", _LINES),
    (rb"version https://git-lfs", "a pointer of Git LFS in place of the file", "get the file: git lfs pull"),
    (rb"(?i)\s*<(!doctype html|html)", "a page of HTML", "fetch the file itself"),
)
_PLAIN = (
    r'import re, sys; plain = r"(\x22(?:\\.|[^\x22\\])*\x22)|(-?(?:NaN|Infinity))|(?://|#)[^\n]*|/\*.*?\*/|\+(?=\d)'
    r'|,(?=(?:\s|(?://|#)[^\n]*|/\*.*?\*/)*[]}])"; put = lambda found: found[1] or found[2] and "null" or ""; '
    r"print(re.sub(plain, put, sys.stdin.read(), flags=re.S))"
)
_LITERAL = (
    "import ast, json, sys; found = ast.parse(sys.stdin.read()).body; "
    "[print(json.dumps(ast.literal_eval(each.value))) for each in found]"
)
_EACH = "import json, sys; [print(%s) for line in sys.stdin if line.strip()]"
_A_LINE = _EACH % "json.dumps({'text': line.rstrip()})"
_XML = (
    "import json, sys; from xml.etree import ElementTree as tree; of = lambda parts: "
    "{a.tag: chr(10).join(str().join(b.itertext()) for b in parts if b.tag == a.tag) for a in parts}; "
    "[print(json.dumps({**each.attrib, **of([*each] or [each])})) for each in tree.parse(sys.stdin.buffer).getroot()]"
)
_WAYS_OUT = (
    (r"expected (a key or }|\"), found '?\w", "if it is JSON5", "", ".yaml"),
    (r"is not a JSON number", "as plain JSON", _PLAIN, ""),  # NaN
    (r"found '?[/#+]|begins with a comment", "as plain JSON", _PLAIN, ""),  # and +1
    (r"expected (a key|\"), found '?}|expected a value, found ]", "as plain JSON", _PLAIN, ""),  # commas at the end
    (r"found (\"'\"|'|[TFN])$|begins with .\w+ = [\[{]", "if it is Python", _LITERAL, ".json"),
    (r"expected a value, found ,", "without commas between lines", _EACH % "line.rstrip().rstrip(chr(44))", ""),
    (r"begins with .<[?!\w]", "if a child of the root is a task", _XML, ".jsonl"),
    (r"\.py: .* begins with", "in Python: prealloc.plan(THE_LIST)", "", ""),
    (r"\A(?!.*\.(?i:json[l5]?|ndjson)(\.\w+)?: ).* begins with", "if a line is a task", _A_LINE, ".jsonl"),
)
"""For a text that is nearly JSON: words of the refusal, a command that makes JSON of it, the new file's ending."""
_TAGGED = "yaml.SafeLoader.add_constructor(None, lambda _, node: node.tag + chr(32) + node.value)"
_YAML = (f", yaml; {_TAGGED}", "yaml.safe_load(sys.stdin)")
_LOADED = {".toml": (", tomllib", "tomllib.load(sys.stdin.buffer)"), ".yaml": _YAML, ".yml": _YAML}
_UNPACK = {".gz": "zcat", ".zst": "zstdcat", ".bz2": "bzcat", ".xz": "xzcat"}


def rewrite(where: str, program: str, ending: str = "") -> str:
    """A command that writes what `program` makes of a file beside it, with this ending if it becomes another kind."""
    path = Path(where if os.path.isfile(where) else "FILE")
    stem, old, packed = name_parts(path.name)
    given, new = quoted(path), quoted(path.with_name(f"fixed-{stem}{ending or old}"))
    unpack = _UNPACK.get(packed)
    return f"{unpack} {given} | {program} > {new}" if unpack else f"{program} < {given} > {new}"


def python(code: str) -> str:
    """A command that runs some Python, in double quotes where they hide all of it from a shell."""
    return f"python3 -c {shlex.quote(code)}" if re.search(r'["$`\\!]', code) else f'python3 -c "{code}"'


def rewrite_json(where: str, expression: str) -> str:
    """The same of a document, of whose value `d` the new file gets what a Python expression says, as JSON."""
    module, load = _LOADED.get(name_parts(where).ending, ("", "json.load(sys.stdin)"))
    code = f"import json, sys{module}; d = {load}; json.dump({expression}, sys.stdout, default=str)"
    return rewrite(where, python(code), ".json")


def refuse_binary(head: bytes, where: str) -> None:
    """Raises LibraryError, with what a file is, if it begins as no text in UTF-8 does."""
    for magic, kind, hint in _KINDS:
        if re.match(magic, head, re.DOTALL):
            file = quoted(where) if os.path.isfile(where) else "FILE"
            hint = f"prealloc reads {_READ}; {hint.replace('FILE', file)}"
            raise LibraryError(f"this is {kind}", where=where, hint=hint)
    if inner := packing(head[:4]):
        raise LibraryError("it is packed twice", where=where, hint=f"unpack it once: {rewrite(where, f'{inner} -dc')}")
    problem = encoding_problem(head[:4])
    if problem and not head.startswith(codecs.BOM_UTF8):
        code = "UTF-32" if b"\0\0" in head[:4] else "UTF-16BE" if head[:1] == b"\0" else "UTF-16"
        hint = f"save it as UTF-8: {rewrite(where, f'iconv -f {code} -t UTF-8')}"
        raise LibraryError(f"the file {problem}", where=where, hint=hint)


def text_lines(pieces: Iterable[bytes], where: str) -> Iterator[str]:
    """The lines of a text in UTF-8, with their ends, without a byte order mark. Raises LibraryError."""
    for number, line in enumerate(_lines(pieces), 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            problem = f"this is not UTF-8: it has the byte 0x{line[error.start]:02x}"
            raise LibraryError(problem, where=f"{where}, line {number}", hint=not_utf8(where)) from None


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    left: list[bytes] = []
    for piece in pieces:
        left.append(piece)
        if b"\n" in piece or b"\r" in piece:  # else a long cell would be joined again with each piece
            *lines, last = b"".join(left).splitlines(keepends=True)
            left = [last]
            yield from lines
    yield from b"".join(left).splitlines(keepends=True)


def not_utf8(where: str) -> str:
    """What to do about a byte that UTF-8 does not have."""
    head = head_of(Path(where), HEAD)
    if re.search(rb"[\0-\x08\x0e-\x1f]", head) and not packing(head):
        return f"this seems to be a binary file: {_LINES}"
    command = rewrite(where, "iconv -f CP1252 -t UTF-8")
    return f"save the file as UTF-8, or fix that byte; if it is Windows-1252 or Latin-1: {command}"


def way_out(problem: str, where: str) -> str:
    """What makes a library of a text that is nearly JSON, by what is wrong with it; nothing where no command does."""
    for found, what, code, ending in _WAYS_OUT:
        if re.search(found, f"{where}: {problem}"):
            command = f": {rewrite(where, python(code) if code else 'cat', ending)}" if code or ending else ""
            return f"; {what}{command}"
    return ""


def no_tasks(where: str) -> LibraryError:
    """The error of a library with nothing in it."""
    return LibraryError("the library has no tasks", where=where, hint="give a library with at least one task")


def no_document(tasks_field: str, where: str) -> LibraryError:
    """The error where somebody names a place in what has none."""
    problem = f"‹tasks_field› {tasks_field}: the library is not an object with lists"
    return LibraryError(problem, where=where, hint="omit ‹tasks_field›")
