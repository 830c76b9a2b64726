"""Task libraries in Parquet, and those of others. What holds for every format: contract/test_formats.py."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from small_tasks import essence, lines, planned
from stored import PROVED, RECORDS, all_of, record, spoiled, write_all

from examples import examples
from prealloc.errors import InputError, LibraryError
from prealloc.library import read_library
from prealloc.library.convert import convert
from prealloc.library.parquet import foreign as others
from prealloc.library.parquet.library import META_KEY, new_parquet
from prealloc.model.fields import Fields

written, opened = PROVED["parquet"].write, PROVED["parquet"].open


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "library.parquet")


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The columns that are read, as they are, or row groups of texts."""
    seen: list[Any] = []
    real = pq.ParquetFile.iter_batches

    def counted(self: Any, *words: Any, row_groups: Any = None, columns: Any = None, **more: Any) -> Any:
        seen.append(row_groups if columns == ["workflow", "fields"] else columns)
        return real(self, *words, row_groups=row_groups, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    return seen


def foreign(path: Path, columns: dict[str, Any], **more: Any) -> Path:
    """Two tasks, in a file that others wrote; a column that is None is left out."""
    all_columns = {"id": ["a", "b"], "task_type": ["x", "y"]} | columns
    pq.write_table(pa.table({name: column for name, column in all_columns.items() if column is not None}), path, **more)
    return path


def rewrite(path: Path, table: pa.Table | None = None, **metadata: Any) -> None:
    """Writes our file again as pyarrow alone would, with other rows or other metadata (None: without it)."""
    old = pq.read_table(path) if table is None else table
    keys = pq.ParquetFile(path).metadata.metadata
    kept = keys | {key.encode(): value for key, value in metadata.items()}
    with pq.ParquetWriter(path, old.schema, store_schema=False) as writer:
        writer.write_table(old)
        writer.add_key_value_metadata({key: value for key, value in kept.items() if value is not None})


def test_only_the_row_groups_asked_for_are_read(path: Path, groups: list[Any]) -> None:
    """Law: opening reads no text; tasks read their row groups, each once, even if the order jumps."""
    assert pq.ParquetFile(path).num_row_groups == 3
    library = opened(path)
    assert groups == [["id", "task_type", "digest"]] * 3
    groups.clear()
    last = len(RECORDS) - 1
    library.tasks([last, 0, last, 1, 0])
    assert groups == [[2], [0]]


def test_other_programs_see_the_texts(path: Path) -> None:
    """Law: workflow and fields are columns of JSON text, packed with zstd."""
    table = pq.read_table(path)
    assert table.column_names == ["id", "task_type", "digest", "workflow", "fields"]
    flows = [one.split()[0] for one in RECORDS]
    assert table["workflow"].to_pylist() == [flow and flow.decode() for flow in flows]
    metadata = pq.ParquetFile(path).metadata
    assert json.loads(metadata.metadata[META_KEY])["version"] == 1
    assert metadata.row_group(0).column(3).compression == "ZSTD"


def test_rows_that_others_changed_are_refused(path: Path) -> None:
    """Law: a sound file that bears our mark must hold the tasks that we wrote, all of them, in order."""
    table = pq.read_table(path)
    for other in (table.slice(1), table.take(list(range(len(table)))[::-1]), table.slice(0, 0)):
        rewrite(path, other)
        with pytest.raises(LibraryError):
            opened(path)
    swapped = table.set_column(3, table.schema.field(3), pa.array(["[]"] * len(table)))
    rewrite(path, swapped)
    library = opened(path)
    with pytest.raises(LibraryError, match="not what was written") as caught:
        library.task(4)
    assert caught.value.where == f"{path}, task 4 (id {RECORDS[4].id!a})"
    rewrite(path, table.drop_columns(["digest"]))
    with pytest.raises(LibraryError, match="its columns are not as prealloc writes them"):
        opened(path)


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"prealloc_library": b"{}"}, "it is not a prealloc-library-parquet document"),
        ({"prealloc_library": b'{"format":"prealloc-library-parquet","version":1}'}, "a field is wrong"),
        ({"prealloc_library": b"["}, "it is not a JSON document"),
        ({"prealloc_library": None}, "what prealloc writes about its tasks is missing"),
    ],
)
def test_other_metadata_is_refused(path: Path, metadata: dict[str, Any], problem: str) -> None:
    """Law: newer, half of it, damaged: each is told; and without it our file is not mistaken for another's."""
    rewrite(path, **metadata)
    with pytest.raises(LibraryError, match=problem) as caught:
        opened(path)
    assert caught.value.hint


@pytest.mark.parametrize("count", ["tasks", "without_workflow", "two_ids"])
@pytest.mark.parametrize("value", [-1, 1, 2**70])
def test_another_count_is_refused(path: Path, count: str, value: int) -> None:
    """Law: counts are proved by the fingerprint."""
    meta = json.loads(pq.ParquetFile(path).metadata.metadata[META_KEY])
    rewrite(path, prealloc_library=json.dumps(meta | {count: value}).encode())
    with pytest.raises(LibraryError):
        opened(path)


def test_a_foreign_file_with_workflows_as_text(tmp_path: Path) -> None:
    """Law: text in `workflow` is JSON as it stands; every other column is a field, text a string."""
    columns = {"workflow": ['{ "a": 1e5, "b": "\\u00e9" }', None], "note": ["{}", None], "n": [1, 2]}
    for text in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        if text == pa.string_view():
            column = pa.array(columns["workflow"], pa.string()).cast(text)
        else:
            column = pa.array(columns["workflow"], text)
        library = opened(foreign(tmp_path / "x.parquet", columns | {"workflow": column}))
        assert list(library.texts([1, 0])) == [
            b'{"id":"b","task_type":"y","note":null,"n":2}',
            b'{"id":"a","task_type":"x","note":"{}","n":1,"workflow":{"a":1e5,"b":"\\u00e9"}}',
        ]
        assert library.task(0).workflow_json == b'{"a":1e5,"b":"\\u00e9"}'
        assert (library.task(1).workflow, library.counts.without_workflow) == (None, 1)


NESTED = pa.struct(
    [
        ("steps", pa.list_(pa.struct([("n", pa.int64()), ("t", pa.string())]))),
        ("by", pa.map_(pa.string(), pa.list_(pa.float32()))),
    ]
)


@pytest.mark.parametrize(
    ("column", "json_text"),
    [
        (
            pa.array([{"steps": [{"n": 1, "t": "é"}, None], "by": [("k", [0.5])]}, None], NESTED),
            b'{"steps":[{"n":1,"t":"\xc3\xa9"},null],"by":{"k":[0.5]}}',
        ),
        (pa.array([[["a"], []], None]), b'[["a"],[]]'),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), b"[1,2]"),
        (
            pa.array([[("k", [("l", True)])], None], pa.map_(pa.string(), pa.map_(pa.string(), pa.bool_()))),
            b'{"k":{"l":true}}',
        ),
        (pa.array([2**64 - 1, None], pa.uint64()), b"18446744073709551615"),
    ],
)
def test_a_foreign_file_with_nested_workflows(tmp_path: Path, column: Any, json_text: bytes) -> None:
    """Law: structs, lists and maps become JSON; null is a task without a workflow."""
    more = {"workflow.steps": [1, 2], "workflow.x": [{"y": 1}, {"y": 2}]}  # named like parts of it
    library = opened(foreign(tmp_path / "x.parquet", more | {"workflow": column, "note": column}))
    assert library.task(0).workflow_json == json_text
    assert library.task(0).extra_json == b'{"note":%s}' % json_text
    assert (library.task(1).workflow, library.counts.without_workflow) == (None, 1)


def test_a_foreign_file_in_other_spellings(tmp_path: Path) -> None:
    """Law: `instance_id` and `type` will do; where both are there, `id` and `task_type` win."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"instance_id": ["a", "b"], "type": ["x", "y"]}), path)
    library = opened(path)
    assert (list(library.ids), list(library.types)) == (["a", "b"], ["x", "y"])
    assert (library.counts.without_workflow, library.counts.two_ids) == (2, 0)
    library = opened(foreign(path, {"instance_id": ["a", "c"], "type": [1, 2], "workflow": ["null", " null\n"]}))
    assert (list(library.ids), list(library.types)) == (["a", "b"], ["x", "y"])
    assert (library.counts.without_workflow, library.counts.two_ids) == (2, 1)
    assert [task.workflow for task in library.tasks([0, 1])] == [None, None]
    assert opened(foreign(path, {"instance_id": ["a", None]})).counts.two_ids == 0


def test_a_foreign_file_of_many_row_groups(tmp_path: Path) -> None:
    """Law: rows are counted across row groups, whatever their size."""
    ids = [f"t{i}" for i in range(1_000)]
    table = pa.table({"id": ids, "type": ids, "workflow": [f"[{i}]" for i in range(1_000)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=300)
    positions = [999, 0, 299, 300, 301, 0, 899, 900]
    tasks = opened(tmp_path / "x.parquet").tasks(positions)
    assert [(task.id, task.workflow) for task in tasks] == [(f"t{i}", [i]) for i in positions]


MOMENT = datetime.datetime(2024, 1, 1)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"id": None}, "task 0 has no id; the first task has the fields task_type"),
        ({"id": [1.5, 2]}, "task 0 has 1.5 in id, which is not a name"),
        ({"id": [["a"], ["b"]]}, r"task 0 has \['a'\] in id"),
        ({"id": [decimal.Decimal(1), None]}, "the column 'id' holds decimal128"),
        ({"id": ["a", None]}, "task 1 has no id"),
        ({"id": ["a", ""]}, "task 1 has '' in id"),
        ({"id": ["a", "b\0"]}, r"task 1 has 'b\\x00' in id"),
        ({"task_type": [None, "y"]}, "task 0 has no type"),
        ({"id": None, "task_type": [None, "y"]}, "task 0 has no id; task 0 has no type; the first task has"),
        ({"id": ["a", "a"]}, "1 id is there more than once: 'a' in tasks 0, 1"),
        ({"note": [MOMENT, MOMENT]}, r"the column 'note' holds timestamp\[us\], which JSON cannot express"),
        ({"note": [MOMENT.date(), None]}, r"the column 'note' holds date32"),
        ({"note": [b"a", b"b"]}, "the column 'note' holds binary"),
        ({"note": [decimal.Decimal("1.5"), None]}, "the column 'note' holds decimal128"),
        ({"workflow": [{"at": [MOMENT]}, None]}, "the column 'workflow' holds timestamp"),
        ({"workflow": pa.array([[(1, 2)], None], pa.map_(pa.int64(), pa.int64()))}, "a map with keys of int64"),
    ],
)
def test_a_foreign_file_that_is_no_library_is_refused(tmp_path: Path, columns: dict[str, Any], problem: str) -> None:
    """Law: no id, half a type, the same id twice, columns to keep that are no JSON: each is told, with a hint."""
    path = foreign(tmp_path / "x.parquet", columns)
    with pytest.raises(LibraryError, match=problem) as caught:
        opened(path)
    assert str(caught.value.where).startswith(str(path))
    assert caught.value.hint


def test_what_is_refused_is_fixed_by_the_command_in_the_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: all columns that are no JSON are told at once, also of one of many files; the command leaves them out."""
    monkeypatch.chdir(tmp_path)
    foreign(Path("x.parquet"), {"note": [b"a", b"b"], "at": [MOMENT, MOMENT]})
    for library in ("x.parquet", "*.parquet"):
        problem = "the column 'note' holds binary; the column 'at' holds timestamp"
        with pytest.raises(LibraryError, match=problem) as caught:
            convert(library, tmp_path / "x.jsonl")
        command = str(caught.value.hint).partition(": python3 ")[2]
    subprocess.run(["sh", "-c", f"{sys.executable} {command}"], check=True)
    assert convert("fixed-x.parquet", tmp_path / "x.jsonl").tasks == 2


def test_parts_are_one_library(tmp_path: Path) -> None:
    """Law: a pattern of files of any format gives the plan of one file with the same tasks."""
    tasks = [{"id": f"t{n}", "category": "ab"[n % 2], "note": str(n)} for n in range(6)]
    for at, some in enumerate((tasks[:2], tasks[2:3], tasks[3:])):
        pq.write_table(pa.Table.from_pylist([{**task, "at": MOMENT} for task in some]), tmp_path / f"p{at}.parquet")
    whole = planned(lines(tmp_path / "t.jsonl", tasks), keep=["note"])
    made = planned(tmp_path / "p*.parquet", keep=["note"])
    assert essence(made) == essence(whole)
    assert made.file.libraries[0].bytes == sum(file.stat().st_size for file in tmp_path.glob("p*"))
    with pytest.raises(LibraryError, match="the column 'at'"):
        planned(tmp_path / "p*.parquet", keep=["at"])
    for n, task in enumerate(tasks):
        convert(lines(tmp_path / f"{n}.jsonl", [task]), tmp_path / f"our{n}.parquet")
    assert essence(planned(tmp_path / "our*.parquet", keep=["note"])) == essence(whole)


@pytest.mark.parametrize(
    ("columns", "problem", "where"),
    [
        ({"workflow": ["{}", "{"]}, "the workflow is not JSON: the text ends too early", ", at workflow"),
        ({"workflow": ["{}", ""]}, "the workflow is not JSON: is empty", ", at workflow"),
        ({"workflow": ["{}", '{"a":{"b":1,"b":2}}']}, "the key", ", at workflow.a.b"),
        ({"workflow": ["{}", "NaN"]}, "NaN is not a JSON number", ", at workflow"),
        ({"workflow": [[1.0], [float("nan")]]}, r"no JSON value here: workflow\[0\]: nan", ""),
        ({"note": [1.0, float("inf")]}, "no JSON value here: note: inf", ""),
        (
            {"workflow": pa.array([[], [("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64()))},
            "a map has a key twice",
            "",
        ),
    ],
)
def test_a_foreign_value_that_is_no_json_is_refused(
    tmp_path: Path, columns: dict[str, Any], problem: str, where: str
) -> None:
    """Law: it is told when its task is asked for, with row and column; other tasks can be read."""
    path = foreign(tmp_path / "x.parquet", columns)
    library = opened(path)
    library.task(0)
    with pytest.raises(LibraryError, match=problem) as caught:
        library.task(1)
    assert caught.value.where == f"{path}, row 1 (counted from 0){where}"


def test_a_value_is_told_by_its_row_where_ids_are_digests(tmp_path: Path) -> None:
    """Law: a row counts from the first of the file, however many are read at once."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"workflow": ["{}"] * 150 + ["{"], "n": [*range(151)]}), path)
    with pytest.raises(LibraryError, match="the text ends too early") as caught:
        PROVED["parquet"].opener(path, keep=(), fields=Fields(id_from="content"))
    assert caught.value.where == f"{path}, row 150 (counted from 0), at workflow"


@pytest.mark.parametrize(
    "column", [[MOMENT, None], [b"a", b"b"], [decimal.Decimal("1.5"), None], [float("nan"), 1.0], [1.5, 2.5]]
)
def test_columns_that_nobody_asked_for_may_hold_anything(tmp_path: Path, column: list[Any]) -> None:
    """Law: only what is read has to be JSON; whoever asks for all of it is told of the column that is none."""
    path = foreign(tmp_path / "x.parquet", {"other": column, "note": ["n", None]})
    assert [task.extra for task in opened(path).tasks([1, 0])] == [{"note": None}, {"note": "n"}]
    everything = PROVED["parquet"].opener
    if column == [1.5, 2.5]:
        assert everything(path, keep=("all",)).task(0).extra == {"other": 1.5, "note": "n"}
        return
    with pytest.raises(LibraryError, match="the column 'other'"):
        everything(path, keep=("all",)).tasks([0, 1])
    with pytest.raises(LibraryError, match="the column 'other'"):
        convert(path, tmp_path / "x.jsonl")  # it loses nothing


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    """Law: a number as id is its digits; a library without types has one."""
    library = opened(foreign(tmp_path / "x.parquet", {"id": [7, 2**63 - 1], "task_type": None}))
    assert ([*library.ids], [*library.types]) == (["7", str(2**63 - 1)], ["task", "task"])
    assert [task.id for task in library.tasks([1, 0])] == [str(2**63 - 1), "7"]


def test_a_foreign_file_without_tasks_is_refused(tmp_path: Path) -> None:
    """Law: no rows, no library; and two columns of one name are no object."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": pa.array([], pa.string()), "type": pa.array([], pa.string())}), path)
    with pytest.raises(LibraryError, match="the library has no tasks"):
        opened(path)
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "type", "id"])
    pq.write_table(table, path)
    with pytest.raises(LibraryError, match="two columns are called 'id'"):
        opened(path)
    pa.feather.write_feather(table, tmp_path / "x.arrow")
    for library in (tmp_path / "x.arrow", tmp_path / "*.arrow"):
        with pytest.raises(LibraryError, match="two columns are called 'id'"):
            read_library(library)


def test_a_workflow_as_text_is_read_alike_everywhere(tmp_path: Path) -> None:
    """Law: in Parquet, in parts of it and in Arrow it is the JSON that it says, by whatever name."""
    tasks = [{"id": f"t{n}", "type": "x", "steps": json.dumps({"do": [n, 1.5]})} for n in range(4)]
    table = pa.Table.from_pylist(tasks)
    pq.write_table(table, tmp_path / "whole.parquet")
    pq.write_table(table.slice(0, 1), tmp_path / "p0.parquet")
    pq.write_table(table.slice(1), tmp_path / "p1.parquet")
    pa.feather.write_feather(table, tmp_path / "whole.arrow")
    made = [
        planned(tmp_path / name, workflow_field="steps", id_from=way)
        for way in (None, "content")
        for name in ("whole.parquet", "p*.parquet", "whole.arrow")
    ]
    assert [essence(each) for each in made[1:3]] == [essence(made[0])] * 2
    assert [essence(each) for each in made[4:]] == [essence(made[3])] * 2
    assert {task.workflow["do"][1] for shard in made[1].shards for task in shard.tasks} == {1.5}


def test_arrow_that_changes_behind_its_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the rows are those of the bytes that were hashed."""
    path = tmp_path / "x.arrow"
    pa.feather.write_feather(pa.table({"id": ["a", "b"]}), path)
    value = others._value

    def changed(*words: Any) -> Any:
        os.utime(path, ns=(0, 0))
        return value(*words)

    monkeypatch.setattr(others, "_value", changed)
    with pytest.raises(LibraryError, match="the file was changed while it was read"):
        read_library(path)


@given(data=st.data())
@examples(150, allow=[HealthCheck.function_scoped_fixture])
def test_a_spoiled_foreign_file_gives_tasks_or_a_refusal(tmp_path: Path, data: st.DataObject) -> None:
    """Law: nothing proves a file that is not ours, but whatever it says is tasks, or a LibraryError."""
    columns = {"workflow": pa.array([{"steps": [], "by": [("k", [0.5])]}, None], NESTED), "note": ["é", None]}
    path = foreign(tmp_path / "foreign.parquet", columns, write_page_checksum=True)
    path.write_bytes(data.draw(spoiled(path.read_bytes())))
    try:
        said = all_of(opened(path))
    except LibraryError as refusal:
        said = (refusal.where, refusal.hint)
    assert all(part is not None for part in said)


def test_without_pyarrow_the_way_to_get_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: reading and writing name the exact pip line, and nothing is left of the file."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    (tmp_path / "x.arrow").write_bytes(b"ARROW1")
    (tmp_path / "x.jsonl").write_bytes(RECORDS[0].text)
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    for module in ("foreign", "library"):
        monkeypatch.delitem(sys.modules, f"prealloc.library.parquet.{module}")
    for use in (
        lambda: read_library(tmp_path / "x.parquet"),
        lambda: read_library(tmp_path / "x.arrow"),
        lambda: convert(tmp_path / "x.jsonl", tmp_path / "new.parquet"),
    ):
        with pytest.raises(LibraryError, match="need pyarrow") as caught:
            use()
        assert str(caught.value.where).endswith((".parquet", ".arrow"))
        assert caught.value.hint == "pip install 'prealloc[parquet]'"
    assert sorted(os.listdir(tmp_path)) == ["x.arrow", "x.jsonl", "x.parquet"]


def test_what_arrow_refuses_to_write_is_told(tmp_path: Path) -> None:
    """Law: pyarrow's own errors become ours, and nothing is left of the file."""
    with pytest.raises(InputError, match="it cannot be written as Parquet"):
        write_all(new_parquet(tmp_path / "x.parquet", force=False), RECORDS, pa.ArrowInvalid("too large"))
    assert os.listdir(tmp_path) == []


def test_a_row_that_is_not_ours_by_digest_alone(path: Path) -> None:
    """Law: the text of one task under the name of another is refused, though both are sound."""
    table = pq.read_table(path)
    order = [0, 1, 2, 4, 3, *range(5, len(table))]
    texts = {name: table[name].take(order) for name in ("workflow", "fields")}
    for name, column in texts.items():
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    rewrite(path, table)
    with pytest.raises(LibraryError, match="the task's text is not what was written"):
        opened(path).task(3)


def test_records_of_any_size(tmp_path: Path) -> None:
    """Law: a task larger than a row group has one of its own."""
    large = [record(f"t{i}", "t", json.dumps("x" * 5_000)) for i in range(3)]
    path = written(tmp_path / "x.parquet", large)
    assert pq.ParquetFile(path).num_row_groups == 3
    assert list(opened(path).texts([2, 0, 1])) == [large[i].text for i in (2, 0, 1)]
