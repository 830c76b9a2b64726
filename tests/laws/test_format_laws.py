"""Laws of the ways to reach a library: the same tasks give the same plan, and what is no library is none by any way."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from small_tasks import piped, whole_essence

from examples import examples
from prealloc.api import libraries
from prealloc.api.planned_tasks import BareTasks
from prealloc.api.plans import plan
from prealloc.errors import LibraryError, OptionsError
from prealloc.library import read_library
from prealloc.library.formats import FORMATS
from prealloc.library.packed.index import TaskIndex, make_index
from prealloc.library.text import batches
from prealloc.model.plan_spec import PlanSpec
from prealloc.planning.planner import choose_tasks
from prealloc.planning.rank import stable_hashes
from prealloc.planning.shortlist import Shortlist, shortlist_of

NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=8,
)
KEPT = ("difficulty_level", "instance_id", "tools")


@st.composite
def tasks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Tasks in every spelling of a library, some with fields that a plan keeps, some without a workflow."""
    ids = draw(st.lists(NAME, min_size=1, max_size=14, unique=True))
    made = []
    for id in ids:
        task: dict[str, Any] = {}
        for name in draw(st.sets(st.sampled_from(["tools", "difficulty_level", "odd \u00e9", "metadata"]))):
            task[name] = draw(VALUES)
        task[draw(st.sampled_from(["id", "instance_id"]))] = id
        task[draw(st.sampled_from(["type", "task_type"]))] = draw(st.sampled_from(["a", "b", "\u00e4 type"]))
        if draw(st.booleans()) or draw(st.booleans()):
            task["workflow"] = draw(VALUES)
        made.append(task)
    return made


SPECS = st.fixed_dictionaries(
    {
        "shards": st.integers(1, 3),
        "num_instances": st.integers(1, 3),
        "strategy": st.sampled_from(["disjoint", "paired", "independent"]),
        "seed": st.integers(0, 2**63 - 1),
        "stratify": st.booleans(),
        "keep": st.sampled_from([(), KEPT, ("all",)]),
    }
)
LAYOUTS = st.sampled_from([None, 1, "\t"])


def named(task: dict[str, Any]) -> str:
    id: str = task.get("id", task.get("instance_id"))
    return id


def planned(library: Path | str, spec: dict[str, Any], **options: Any) -> tuple[Any, ...] | None:
    """All that law 2 speaks of; None where the spec asks for more than there is; "refused" where it is no library."""
    bare: list[BareTasks] = []
    try:
        made = plan(library, **spec, **options, bare=bare.append)
    except OptionsError as error:
        absent = [mistake for mistake in error.mistakes if mistake.where.startswith("--keep")]
        return (absent,) if absent else None
    except LibraryError:
        return ("refused",)
    return *whole_essence(made), *bare


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, str]]:
    """Tasks as others have them: all text, so that a table can hold them, and named by the common names."""
    ids = draw(st.lists(st.from_regex("[a-z0-9.-]{1,8}", fullmatch=True), min_size=2, max_size=8, unique=True))
    id_field = draw(st.sampled_from(["id", "task_id", "question_id", "name"]))
    type_field = draw(st.sampled_from(["type", "category", "domain", "none"]))
    return [{"prompt": draw(TEXTS), type_field: draw(NAME), id_field: id} for id in ids]


def spelled(value: Any, indent: int = -1) -> str:
    """JSON in the spelling that a text gets which has none yet, such as that of a cell: it stands in plans."""
    return msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()


def table_of(tasks: list[dict[str, str]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, tasks[0], delimiter=delimiter)
    table.writeheader()
    table.writerows(tasks)
    return text.getvalue().encode()


def in_every_format(folder: Path, tasks: list[dict[str, str]]) -> Iterator[Any]:
    """The same tasks in each form that can hold them."""
    text, lines = spelled(tasks), "".join(spelled(task) + "\n" for task in tasks)
    (id_field,) = {*tasks[0]} & {"id", "task_id", "question_id", "name"}
    for name, content in {
        "array.json": text,
        "list.json": spelled({"version": 1, "examples": tasks, "notes": ["a"]}, indent=1),
        "lines.jsonl": lines,
        "keyed.json": spelled({task[id_field]: {**task, "id": task[id_field]} for task in tasks}),
        "marked.json": "\ufeff" + text,
    }.items():
        (folder / name).write_text(content)
        yield folder / name
    for ending, pack in {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.items():
        (folder / f"t.json.{ending}").write_bytes(pack(text.encode()))
        yield folder / f"t.json.{ending}"
    for name, delimiter in (("t.csv", ","), ("t.tsv", "\t")):
        (folder / name).write_bytes(table_of(tasks, delimiter))
        yield folder / name
    pq.write_table(pa.Table.from_pylist(tasks), folder / "t.parquet")
    yield folder / "t.parquet"
    for kind, write in (("json", spelled), ("yaml", partial(yaml.safe_dump, allow_unicode=False))):
        (folder / kind).mkdir()
        for number, task in enumerate(tasks):
            (folder / kind / f"{number}.{kind}").write_text(write(task))
        yield folder / kind
        yield folder / kind / f"*.{kind}"
    yield tasks
    table = pa.Table.from_pylist(tasks)
    yield table
    for name, new in (("stream.arrow", pa.ipc.new_stream), ("file.arrow", pa.ipc.new_file)):
        with new(folder / name, table.schema) as arrow:
            arrow.write_table(table, max_chunksize=2)
        yield folder / name
    (folder / "parts").mkdir()
    pq.write_table(table.slice(2), folder / "parts" / "2.parquet")
    (folder / "parts" / "1.json").write_text(spelled({"rows": tasks[1:2]}))
    (folder / "parts" / "0.csv.gz").write_bytes(gzip.compress(table_of(tasks[:1])))
    yield folder / "par*" / "*"
    for target in FORMATS:
        libraries.convert(folder / "lines.jsonl", folder / "made", to=target.name)
        yield folder / "made"
        (folder / "made").rename(folder / f"made.{target.name}")
    make_index(folder / "lines.jsonl")
    yield folder / "lines.jsonl"


@examples(12, allow=[HealthCheck.too_slow])
@given(rows(), SPECS)
def test_every_form_that_others_have_gives_the_same_plan(tasks: list[dict[str, str]], spec: dict[str, Any]) -> None:
    """Law 2 beyond our own formats: what the tasks are decides, not in which shape, packing or spelling they came."""
    spec = {**spec, "num_instances": 1, "shards": 1, "keep": ("prompt",)}
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for form in in_every_format(Path(folder), tasks):
            made[str(form)] = whole_essence(plan(form, **spec))
        (wanted, *others) = made.values()
        assert all(other == wanted for other in others), [form for form in made if made[form] != wanted]
        with piped(spelled(tasks).encode()):
            assert whole_essence(plan("-", **spec)) == wanted
        with piped(spelled({"a": [{"id": 1}], "data": {"b": 2, "deep": tasks}}).encode()):
            assert whole_essence(plan("-", tasks_field="data.deep", **spec)) == wanted


@pytest.mark.parametrize("target", [target.name for target in FORMATS])
@examples(25, allow=[HealthCheck.too_slow])
@given(tasks(), SPECS, LAYOUTS, st.randoms(use_true_random=False))
def test_every_format_gives_the_same_plan(
    target: str, tasks: list[dict[str, Any]], spec: dict[str, Any], layout: Any, random: Any
) -> None:
    """Law 2: a library that `convert` wrote, from the tasks in another order, gives the very same plan."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first.json"), Path(folder, "second.json")
        first.write_text(json.dumps({"tasks": tasks}, indent=layout))
        random.shuffle(tasks)
        second.write_text(json.dumps(tasks))
        out = Path(folder, "converted")
        libraries.convert(second, out, to=target)
        back = Path(folder, "back.jsonl")
        libraries.convert(out, back)
        expected = planned(first, spec)
        assert expected != ("refused",)
        assert planned(out, spec) == expected
        assert planned(back, spec) == expected


@examples(60, allow=[HealthCheck.too_slow])
@given(tasks(), SPECS, LAYOUTS, st.sampled_from(["t.json", "t.jsonl"]), st.integers(1, 300))
def test_every_way_gives_the_same_plan(
    tasks: list[dict[str, Any]], spec: dict[str, Any], layout: Any, name: str, batch: int
) -> None:
    """Law 2: whole, by an index, in one pass, from standard input: the same plan, however small the pieces are."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, name)
        lines = "\n".join(json.dumps(task, indent=layout) for task in tasks)  # of several lines each, perhaps
        path.write_text(lines if name == "t.jsonl" else json.dumps({"n": [1], "tasks": tasks, "m": {}}, indent=layout))
        whole = planned(path, spec)
        assert whole != ("refused",)
        nameless = Path(folder, "nameless")  # as standard input is: a task of several lines could be a document
        nameless.write_bytes(path.read_bytes())
        as_piped = planned(nameless, spec)
        patch.setattr(batches, "BATCH", batch)
        patch.setattr("prealloc.library.disk._PIECE", batch)
        assert planned(path, spec, stream=True) == whole
        with piped(path.read_bytes()):
            assert planned("-", spec) == as_piped
        patch.setattr("prealloc.library.open.MOST_HELD", 1)
        assert planned(path, spec) == whole  # by itself in one pass, as if it were large
        assert read_library(path).places(ids := [named(task) for task in tasks]).keys() == set(ids)
        make_index(path)
        assert planned(path, spec) == whole
        with TaskIndex.open(path, keep=spec["keep"]) as index:
            for task in read_library(path, keep=spec["keep"]).tasks(range(len(tasks))):
                assert index[task.id] == task


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str]:
    """A name and a text: mostly a library, whose tasks hold what looks like tasks, and all that may stand around."""
    made = draw(tasks())
    for task in made:
        if draw(st.booleans()):
            looks = [{"id": "x", "type": "t"}, {"n": []}, {"id": "y", "workflow": [{"id": 1}]}]
            task[draw(st.sampled_from(["workflow", "tools"]))] = draw(st.permutations(looks))
        if draw(st.integers(0, 3)) == 0:
            task["workflow"] = "long " * draw(st.integers(200, 400))
    layout, beside = draw(LAYOUTS), {"version": [1, {"id": "z"}], "tools": [{"id": "q"}], "empty": {}}
    names = draw(st.permutations(["tasks", *draw(st.sets(st.sampled_from(sorted(beside))))]))
    shape = draw(st.sampled_from(["document", "array", "lines"]))
    if shape == "document":
        text = json.dumps({name: beside.get(name, made) for name in names}, indent=layout)
    elif shape == "array":
        text = json.dumps(made, indent=layout, separators=draw(st.sampled_from([None, (",", ":")])))
    else:
        text = "\n".join(json.dumps(task, indent=layout) for task in made)
    space = st.sampled_from(["", " ", "\n\r\n"])
    text = draw(st.sampled_from(["", "\ufeff"])) + draw(space) + text + draw(space)
    damage = draw(st.sampled_from(["", "", "cut", "more"]))
    text = text[: draw(st.integers(0, len(text)))] if damage == "cut" else text
    return f"t.json{'l' * (shape == 'lines')}", text + draw(st.sampled_from(["]", "x", "{}"])) * (damage == "more")


def as_json_has_it(name: str, text: str) -> list[tuple[str, str, Any]] | None:
    """What the json module finds in a library whose tasks are fine; None in a text that it refuses."""
    text, found, decoder = text.removeprefix("\ufeff").strip(" \t\r\n"), [], json.JSONDecoder()
    try:
        if name == "t.jsonl":
            while text:
                task, end = decoder.raw_decode(text)
                found.append(task)
                text = text[end:].strip(" \t\r\n")
        else:
            value = json.loads(text)
            found = value["tasks"] if isinstance(value, dict) else value
        rows = [(named(task), task.get("task_type", task.get("type")), task.get("workflow")) for task in found]
    except (ValueError, TypeError, AttributeError):
        return None
    return rows if rows and all(id is not None for id, _, _ in rows) else None


_DEEP = {"id": "a", "type": "t", "x": {"workflow": "long " * 300}, "workflow": "long " * 300}


@examples(300, allow=[HealthCheck.too_slow])
@given(documents(), st.integers(1, 400), st.integers(1, 400))
@example(
    ("t.json", '[{"id":"a","type":"t","x":[{"id":"b","type":"t"},{"id":"c","type":"t"}]},{"id":"d","type":"t"}]'), 9, 50
)
@example(("t.json", '[{"id":"a","type":"t"},{"id":"b","type":"t"},]'), 3, 10)
@example(("t.json", json.dumps([_DEEP, {**_DEEP, "id": "b"}])), 1 << 20, 1 << 20)
def test_one_pass_reads_what_the_json_module_reads(document: tuple[str, str], piece: int, batch: int) -> None:
    """Law: wherever pieces end and cuts are guessed, one pass takes what a plain reading does, and no more."""
    name, text = document
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, name)
        path.write_bytes(text.encode())
        whole = index_of(path)
        patch.setattr("prealloc.library.disk._PIECE", piece)
        patch.setattr("prealloc.library.disk._ahead", lambda read: (piece for piece in iter(read, b"")))
        # a thread's turn for each byte takes a minute
        patch.setattr(batches, "BATCH", batch)
        wanted = as_json_has_it(name, text)
        assert index_of(path) == whole
        try:
            library = read_library(path)
        except LibraryError:
            assert wanted is None
            assert whole is None
            return
        found = [(task.id, task.type, task.workflow) for task in library.tasks(range(len(library.ids)))]
        assert found == wanted


def index_of(path: Path) -> bytes | None:
    """The bytes of its index; None if it is no library."""
    try:
        place = Path(make_index(path).path)
    except LibraryError:
        return None
    content = place.read_bytes()
    place.unlink()
    return content


@examples(60, allow=[HealthCheck.too_slow])
@given(tasks(), LAYOUTS)
def test_all_is_every_field(tasks: list[dict[str, Any]], layout: Any) -> None:
    """Law: `all` gives the very slices that naming every field gives, and no task of them is bare that has any."""
    names = sorted({name for task in tasks for name in task} - {"id", "task_type", "workflow"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.json")
        path.write_text(json.dumps(tasks, indent=layout, ensure_ascii=False))
        bare: list[BareTasks] = []
        kept, by_name = plan(path, whole=True, keep="all", bare=bare.append), plan(path, whole=True, keep=names)
    assert kept.slices == by_name.slices
    assert kept.spec.keep == ("all",)
    assert [each.fields for each in bare] == [[]] * len(bare)


@examples(200)
@given(
    st.lists(st.tuples(NAME, st.sampled_from("abc")), min_size=1, max_size=60, unique_by=lambda pair: pair[0]),
    SPECS,
    st.sampled_from(
        [
            *({}, {"per_type": True}, {"quotas": {"a": 2, "b": 1}}, {"whole": True}, {"num_instances_per_cell": 4}),
            *({"per_type": True, "per_cell": True}, {"quotas": {"a": 3, "b": 2}, "per_cell": True}),
        ]
    ),
    st.integers(1, 9),
)
def test_a_shortlist_is_enough(
    named: list[tuple[str, str]], spec: dict[str, Any], more: dict[str, Any], step: int
) -> None:
    """Law: the choice from a shortlist, whatever the pieces it was offered in, is the choice from the whole library."""
    options = {**spec, **more}
    if more:
        options.pop("num_instances" if more.keys() & {"quotas", "whole", "num_instances_per_cell"} else "", None)
    if more.keys() & {"per_type", "quotas"}:
        options["stratify"] = False
    try:
        checked = PlanSpec.checked(**options)
    except OptionsError:
        return
    ids, types = [id for id, _ in named], [name for _, name in named]
    try:
        chosen = [[ids[place] for place in shard] for shard in choose_tasks(checked, ids, types)]
    except OptionsError:
        return
    hashes = stable_hashes(ids)
    shortlist = Shortlist(checked, [checked.shards])
    for start in range(0, len(ids), step):
        shortlist.offer(hashes[start : start + step], types[start : start + step])
    held = sorted(shortlist.held())
    assert held == shortlist_of(checked, [checked.shards], hashes, types)
    there_are = {name: types.count(name) for name in set(types)}
    some = choose_tasks(checked, [ids[i] for i in held], [types[i] for i in held], there_are)
    assert [[ids[held[place]] for place in shard] for shard in some] == chosen
