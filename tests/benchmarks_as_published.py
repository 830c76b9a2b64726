"""Small made-up files in the shapes in which public benchmarks are published, and what must be read of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

COUNT = 4


class Benchmark(NamedTuple):
    """A file or folder as it is published, and the first id and type that its tasks have."""

    write: Callable[[Path], Path]
    id: str
    type: str
    options: Mapping[str, str] = MappingProxyType({})
    """What its plan needs to be told; without it the library is refused, and the refusal names it."""


def rows(**fields: Any) -> list[dict[str, Any]]:
    """Tasks with these fields: a `#` in a text is the number of the task, and so is `...` by itself."""
    return [{name: _of(value, number) for name, value in fields.items()} for number in range(COUNT)]


def _of(value: Any, number: int) -> Any:
    if value is ...:
        return number
    if isinstance(value, str):
        return value.replace("#", str(number))
    if isinstance(value, dict):
        return {name: _of(inner, number) for name, inner in value.items()}
    return [_of(inner, number) for inner in value] if isinstance(value, list) else value


def lines(tasks: list[dict[str, Any]], name: str = "test.jsonl") -> Callable[[Path], Path]:
    return text(name, "".join(json.dumps(task) + "\n" for task in tasks))


def document(value: Any, name: str = "test.json") -> Callable[[Path], Path]:
    return text(name, json.dumps(value, indent=2))


def text(name: str, content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return write


def table(tasks: list[dict[str, Any]], name: str = "metadata.csv") -> Callable[[Path], Path]:
    out = io.StringIO()
    writer = csv.DictWriter(out, tasks[0], delimiter="\t" if name.endswith("tsv") else ",")
    writer.writeheader()
    writer.writerows(tasks)
    return text(name, out.getvalue())


def parquet(tasks: list[dict[str, Any]]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pq.write_table(pa.Table.from_pylist(tasks), folder / "test-00000-of-00001.parquet")
        return folder / "test-00000-of-00001.parquet"

    return write


def folder(files: dict[str, str]) -> Callable[[Path], Path]:
    def write(at: Path) -> Path:
        for name, content in files.items():
            (at / "tasks" / name).parent.mkdir(parents=True, exist_ok=True)
            (at / "tasks" / name).write_text(content)
        return at / "tasks"

    return write


_CONTENT, _POSITION = {"id_from": "content"}, {"id_from": "position"}
BENCHMARKS = {
    "HumanEval": Benchmark(
        lines(rows(task_id="HumanEval/#", prompt="def f#():", entry_point="f", test="assert f#()")),
        "HumanEval/0",
        "task",
    ),
    "MBPP": Benchmark(lines(rows(task_id=..., text="Write #", code="x", test_list=["assert f(#)"])), "0", "task"),
    "MBPP sanitized": Benchmark(document(rows(source_file="b.ipynb", task_id=..., prompt="p #")), "0", "task"),
    "GSM8K": Benchmark(lines(rows(question="How many #?", answer="#### #")), "0", "task", _POSITION),
    "MT-bench": Benchmark(
        lines(rows(question_id=..., category="writing", turns=["Compose #", "Rewrite"])), "0", "writing"
    ),
    "Arena-Hard": Benchmark(
        lines(rows(uid="32#", category="hard_prompt", cluster="ABC Sequence", prompt="# ?")), "320", "hard_prompt"
    ),
    "Arena-Hard v0.1": Benchmark(
        lines(rows(question_id="32#", category="arena-hard-v0.1", cluster="c", turns=[{"content": "#"}])),
        *("320", "arena-hard-v0.1"),
    ),
    "SWE-bench Verified": Benchmark(
        parquet(rows(repo="django/django", instance_id="django__django-#", base_commit="c", problem_statement="# ?")),
        *("django__django-0", "django/django"),
    ),
    "SWE-smith": Benchmark(
        parquet(rows(instance_id="a__b.#", patch="p", FAIL_TO_PASS=["t#"], image_name="i", repo="swesmith/a__b")),
        *("a__b.0", "swesmith/a__b"),
    ),
    "WebArena": Benchmark(
        document(rows(sites=["shopping_admin", "map"], task_id=..., require_login=True, intent="Find #")),
        *("0", "shopping_admin+map"),
    ),
    "VisualWebArena": Benchmark(document(rows(sites=["reddit"], task_id=..., image=None)), "0", "reddit"),
    "tau2": Benchmark(
        document(rows(id="#", description={"purpose": "p"}, user_scenario={"instructions": "#"})), "0", "task"
    ),
    "BFCL": Benchmark(
        lines(rows(id="simple_#", question=[[{"role": "user", "content": "#"}]], function=[{"name": "f"}]), "B.json"),
        *("simple_0", "task"),
    ),
    "BBEH": Benchmark(
        document({"canary": "c", "examples": rows(input="Is #?", target="yes")}, "task.json"), "0", "task", _POSITION
    ),
    "BIG-bench": Benchmark(
        document({"name": "n", "keywords": ["k"], "examples": rows(input="#", target="t")}), "0", "task", _POSITION
    ),
    "LoCoMo": Benchmark(document(rows(sample_id="conv-#", conversation={"speaker_a": "A"}, qa=[])), "conv-0", "task"),
    "LongBench": Benchmark(lines(rows(input="#", context="c", dataset="d", language="en", _id="d#")), "d0", "en"),
    "AgentBench": Benchmark(
        document(rows(description="Count #", labels=["file"], evaluation={"match": "#"})), "0", "task", _POSITION
    ),
    "OSWorld": Benchmark(
        folder(
            {
                f"{app}/{task['id']}.json": json.dumps(task)
                for app in ("chrome", "gimp")
                for task in rows(id=f"{app}-#", snapshot=app, instruction="#")
            }
        ),
        *("chrome-0", "chrome", {"type_field": "snapshot"}),
    ),
    "BrowserGym": Benchmark(
        table(rows(task_name="miniwob.click-#", category="original", comment="a, b")), "miniwob.click-0", "original"
    ),
    "CRUXEval": Benchmark(lines(rows(code="def f(): #", input="#", output="#", id="sample_#")), "sample_0", "task"),
    "NQ-open": Benchmark(lines(rows(question="who #", answer=["a"])), "0", "task", _POSITION),
    "WebVoyager": Benchmark(
        lines(rows(web_name="Allrecipes", id="Allrecipes--#", ques="#", web="https://x")), "Allrecipes--0", "Allrecipes"
    ),
    "LongMemEval": Benchmark(
        document(rows(question_id="q#", question_type="multi-session", question="#")), "q0", "multi-session"
    ),
    "Mind2Web": Benchmark(
        document(rows(annotation_id="a#", website="w", domain="Travel", confirmed_task="#")),
        *("a0", "Travel"),
    ),
    "DS-1000": Benchmark(lines(rows(prompt="#", metadata={"problem_id": ..., "library_id": 7})), "0", "task"),
    "GPQA": Benchmark(table(rows(**{"Record ID": "rec#", "High-level domain": "Physics"})), "rec0", "task"),
    "Harbor": Benchmark(
        folder({f"t{number}/task.toml": f"[metadata]\nn = {number}\nday = 2024-01-01\n" for number in range(COUNT)}),
        *("t0", "task"),
    ),
    "GAIA": Benchmark(
        lines(rows(task_id="c-#", Question="#", Level=1, file_name=""), "metadata.jsonl"),
        *("c-0", "1", {"type_field": "Level"}),
    ),
    "Terminal-Bench": Benchmark(
        folder({f"fix-{number}/task.yaml": f"instruction: Fix {number}\ncategory: debugging\n" for number in range(4)}),
        *("fix-0", "debugging"),
    ),
    "MATH": Benchmark(lines(rows(problem="#", level="Level 1", type="Algebra", unique_id="m/#")), "m/0", "Algebra"),
    "MMLU-Pro": Benchmark(
        parquet(rows(question_id=..., question="#", options=["a"], category="law", src="s")), "0", "law"
    ),
    "HLE": Benchmark(parquet(rows(id="6#", question="#", image="", category="Math")), "60", "Math"),
    "SQuAD": Benchmark(
        document({"version": "1", "data": rows(title="T#", paragraphs=[])}), "T0", "task", {"id_field": "title"}
    ),
    "TriviaQA": Benchmark(parquet(rows(question="#", question_id="tc_#", answer={"value": "v"})), "tc_0", "task"),
    "ARC-AGI": Benchmark(
        document({f"00d{number}": {"train": [], "test": [number]} for number in range(COUNT)}), "00d0", "task"
    ),
    "TruthfulQA": Benchmark(
        table(rows(Type="Adversarial", Category="Law", Question="Q #?"), "TruthfulQA.csv"),
        *("Q 0?", "Law", {"id_field": "Question", "type_field": "Category"}),
    ),
    "DROP": Benchmark(
        document({f"nfl_{number}": {"passage": "p", "qa_pairs": []} for number in range(COUNT)}), "nfl_0", "task"
    ),
    "LiveCodeBench": Benchmark(
        lines(rows(question_title="t", question_id="abc#", platform="atcoder", difficulty="easy")), "abc0", "easy"
    ),
    "BigCodeBench": Benchmark(parquet(rows(task_id="BigCodeBench/#", libs="['re']")), "BigCodeBench/0", "task"),
    "APPS": Benchmark(lines(rows(id=..., question="#", difficulty="interview")), "0", "interview"),
    "IFEval": Benchmark(lines(rows(key=..., prompt="#", instruction_id_list=["a:b"])), "0", "task"),
    "AlpacaEval": Benchmark(
        document(rows(instruction="Do #", output="o", generator="g", dataset="helpful_base")),
        *("0", "helpful_base", {**_POSITION, "type_field": "dataset"}),
    ),
    "AppWorld": Benchmark(
        document(rows(task_id="82e#_1", metadata={"difficulty": "1"})),
        *("82e0_1", "1", {"type_field": "metadata.difficulty"}),
    ),
    "a table of tabs": Benchmark(table(rows(id="t#", type="a\nb"), "t.tsv"), "t0", "a\nb"),
}
