"""The HTML report: what it says is what the estimators say, and what a run wrote is text in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from command_line import Type
from reported import HOSTILE, KEY, hostile_run, planted, planted_run

import prealloc
from prealloc.api.reports import gather
from prealloc.errors import OptionsError
from prealloc.files.paths import RunPaths
from prealloc.report.html import packed
from prealloc.report.html.page import HERE, render
from prealloc.report.html.pictures import bars, timeline
from prealloc.report.html.pictures.axis import Axis
from prealloc.report.html.say import Say
from prealloc.report.html.svg import tag
from prealloc.store.attempts import attempts_of
from prealloc.store.clusters import template

TAGS = {
    *("html", "head", "meta", "title", "style", "script", "body", "header", "nav", "main", "section"),
    *("h1", "h2", "h3", "p", "a", "b", "strong", "span", "div", "code", "ul", "li", "dl", "dt", "dd", "details"),
    *("summary", "table", "caption", "thead", "tbody", "tr", "th", "td", "form", "button", "dialog"),
    *("svg", "desc", "rect", "text", "line", "circle", "polygon", "path"),
}


class Parsed(HTMLParser):
    """A page as a browser takes it: its elements, its scripts, its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self._at = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._at = tag
        self.elements.append((tag, dict(attrs)))
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._at = ""

    def handle_data(self, data: str) -> None:
        if self._at in self.inside:
            self.inside[self._at][-1] += data
        else:
            self.text += data

    def scripts(self) -> list[tuple[dict[str, str | None], str]]:
        found = [attributes for name, attributes in self.elements if name == "script"]
        return list(zip(found, self.inside["script"], strict=True))


def unpacked(html: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The columns of units, and all details."""
    found = {
        str(attributes["id"]): json.loads(gzip.decompress(base64.b64decode(text)))
        for attributes, text in Parsed(html).scripts()
        if "type" in attributes
    }
    return found.pop("data"), [unit for chunk in found.values() for unit in chunk["units"]]


def page_of(*runs: Path, **options: Any) -> str:
    return render(gather(*runs, **options)).html.decode()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return page_of(run)


@pytest.fixture(scope="module")
def hostile_html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = hostile_run(tmp_path_factory.mktemp("hostile"))
    return page_of(folder, details="all", title=HOSTILE[1])


def test_planted_truths_are_found(run: Path, html: str) -> None:
    """The numbers are those of results and compare; failures are one cluster, with where they concentrate."""
    text = " ".join(Parsed(html).text.split())
    (total,) = prealloc.results(run)
    assert total.rate is not None
    assert f"success{100 * total.rate:.1f}%" in text.replace(" ", "")
    for row in prealloc.results(run, by=["model", "prompt"]):
        assert row.rate is not None
        assert row.low is not None
        assert f"{100 * row.low:.1f} to " in text
    for compared in prealloc.compare(run, factor="model", baseline="a").rows:
        assert compared.difference is not None
        assert f"{100 * compared.difference.value:+.1f}: {compared.verdict}" in text
    assert "20 of 20" not in text
    assert "KeyError: <text>" in text
    assert "model c: 80 of 80" in text
    assert "type import: 80 of 80" in text


def test_every_unit_is_listed_with_what_became_of_it(run: Path, html: str) -> None:
    """The table of units has each unit once; those that are not ok have attempts, error and traceback."""
    data, details = unpacked(html)
    found = list(prealloc.outcomes(run))
    texts = data["texts"]
    names = [
        f"{texts['shard']['texts'][shard]}/{texts['task']['texts'][task]}#{repeat}"
        for shard, task, repeat in zip(texts["shard"]["column"], texts["task"]["column"], data["repeat"], strict=True)
    ]
    assert names == [str(each.unit) for each in found]
    assert [texts["status"]["texts"][each] for each in texts["status"]["column"]] == [each.status for each in found]
    failed = [place for place, each in enumerate(found) if each.status == "failed"]
    assert len(failed) == 80
    for place in failed:
        detail = details[data["detail"][place]]
        assert detail["error"]["type"] == "KeyError"
        assert "no column" in detail["error"]["traceback"]
        assert len(detail["tries"]) == found[place].attempts


def test_the_same_run_gives_the_same_bytes(
    run: Path, html: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clock, no order of a set, no place of the machine is in it: a copy elsewhere gives the same page."""
    (tmp_path / "moved").mkdir()
    shutil.copytree(run, tmp_path / "moved" / run.name)
    pages = []
    for now, place in enumerate((run.parent, tmp_path / "moved")):
        monkeypatch.chdir(place)
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda now=now: 2e9 + now)
            pages.append(page_of(Path(run.name)))
    assert pages[0] == pages[1]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert page_of(Path(run.name)) == pages[0]


def test_texts_of_a_run_are_text(hostile_html: str) -> None:
    """Whatever ids, types, factors, errors, results and logs hold: no element, attribute or link comes of it."""
    parsed = Parsed(hostile_html)
    assert {name for name, _ in parsed.elements} <= TAGS
    for _, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "action")]
        assert (attributes.get("href") or "#").startswith("#")
    executed = [text for attributes, text in parsed.scripts() if "type" not in attributes]
    assert executed == [(HERE / "report.js").read_text()]
    assert "<script>document.title" in parsed.text  # it is there, as text
    assert "49" not in parsed.text.partition("javascript:alert(1)")[2][:12]
    assert "\u202e" not in hostile_html
    assert "\x1b" not in hostile_html
    data, details = unpacked(hostile_html)
    said = json.dumps([data, details], ensure_ascii=False)
    assert not [each for each in said if not each.isprintable()]
    assert any(HOSTILE[0] in text for text in data["texts"]["task"]["texts"])


def test_keys_are_masked(hostile_html: str) -> None:
    """A key that is in an id, an error, a result or a log is nowhere in the file."""
    assert KEY not in hostile_html
    assert KEY not in json.dumps(unpacked(hostile_html))
    assert "***" in json.dumps(unpacked(hostile_html))


def test_a_key_is_masked_wherever_a_text_is_cut() -> None:
    """No part of a key stays where a long text ends, or begins."""
    say = Say()
    for n in range(len(KEY) + 2):
        once = f"{'x ' * (480 + n // 2)}{'x' * (n % 2)} {KEY} {'y ' * 2000}"
        often = f"{'x' * n} {' '.join([KEY] * 5000)} {'y' * n}"
        for text in (once, once[::-1].replace(KEY[::-1], KEY), often):
            for end in (False, True):
                said = say.block(text, 1000, end=end)
                assert not [at for at in range(len(KEY) - 8) if KEY[at : at + 8] in said]


def test_the_policy_allows_this_script_and_this_style_alone(html: str) -> None:
    """Their digests are in it, and nothing may be loaded, sent or run besides."""
    parsed = Parsed(html)
    (policy,) = [
        attributes["content"] for name, attributes in parsed.elements if name == "meta" and "http-equiv" in attributes
    ]
    (script,) = [text for attributes, text in parsed.scripts() if "type" not in attributes]
    (style,) = parsed.inside["style"]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_the_script_sets_text_and_never_markup() -> None:
    """A lint: nothing in it makes elements of text, runs text, or asks the network."""
    script = (HERE / "report.js").read_text()
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bFunction\(|\bon[a-z]+\s*=|setHTML|DOMParser"
        r"|createContextualFragment|fetch\(|XMLHttpRequest|WebSocket|import\(|\.src\b|\.href\b|localStorage|cookie"
    )
    assert re.findall(forbidden, script) == []
    markup = (HERE / "page.html").read_text()
    assert re.findall(r"\bon[a-z]+=|\bstyle=|\bsrc=|https?:", markup) == []
    safe = set(re.findall(r"\{\{ ([^}]*)\|safe \}\}", markup))
    pictures = {"strip", "bar(rate)", "picture", "tasks.picture", "timeline.picture", "lanes.picture"}
    assert safe == {*pictures, "policy", "style", "script", "packed_units", "text"}


def test_what_is_not_listed_is_counted(run: Path) -> None:
    """With fewer rows than units the rates stay those of all; what is not ok is listed first, the rest is a sample."""
    html = page_of(run, rows=100)
    data, _ = unpacked(html)
    statuses = [data["texts"]["status"]["texts"][each] for each in data["texts"]["status"]["column"]]
    assert (len(statuses), statuses.count("failed")) == (100, 80)
    text = " ".join(Parsed(html).text.split())
    assert "100 of 480 units are listed" in text
    assert "--units" in text
    assert f"{100 * (prealloc.results(run)[0].rate or 0):.1f}%" in text
    assert len(unpacked(page_of(run, rows=30))[0]["repeat"]) == 30


def test_details_as_asked_and_as_there_is_room(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All units, none, or those that are not ok and the slowest; what does not fit is counted on the page."""
    assert sum(each >= 0 for each in unpacked(page_of(run, details="all"))[0]["detail"]) == 480
    nothing = page_of(run, details="none")
    assert unpacked(nothing)[1] == []
    html = page_of(run)
    usual = len(unpacked(html)[1])
    assert 80 <= usual <= 100
    first = next(text for attributes, text in Parsed(html).scripts() if attributes.get("id") == "details-0")
    monkeypatch.setattr(packed, "MOST_PACKED", len(first))
    little = page_of(run)
    some = len(unpacked(little)[1])
    assert some == packed.AT_ONCE
    assert f"{usual - some} more did not fit" in " ".join(Parsed(little).text.split())


def fails(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> None:
    raise RuntimeError("nothing works")


def silent(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    return {"answer": 1}


@pytest.mark.parametrize("worker", [fails, silent])
def test_a_run_without_factors_or_success(worker: Callable[..., Any], tmp_path: Path) -> None:
    """A page comes of any run, and says what it cannot say."""
    tasks = [{"id": str(n), "type": "only", "workflow": {}} for n in range(3)]
    prealloc.run(prealloc.plan(tasks, whole=True), worker, tmp_path / "run", engine="inline")
    text = " ".join(Parsed(page_of(tmp_path / "run")).text.split())
    assert "No comparison: nothing in these runs has several values" in text
    assert "no result says success" in text


def test_a_run_that_has_not_begun(run: Path, tmp_path: Path) -> None:
    """A run that was stopped before any attempt ended has a page."""
    shutil.copytree(run, tmp_path / "run")
    for file in (tmp_path / "run" / "journal").iterdir():
        file.unlink()
    text = " ".join(Parsed(page_of(tmp_path / "run")).text.split())
    assert "480 units without a final outcome" in text
    assert "No attempt has ended yet" in text


def test_a_run_whose_slice_was_damaged(run: Path, tmp_path: Path) -> None:
    """Its outcomes are shown all the same, and what is wrong is said."""
    shutil.copytree(run, tmp_path / "run")
    for file in (tmp_path / "run" / "plan" / "slices").iterdir():
        content = file.read_bytes().replace(b'"n":1,', b'"n":2,').replace(b'{"n":3}', b'{"n":4}')
        file.unlink()
        file.write_bytes(content)
    text = " ".join(Parsed(page_of(tmp_path / "run")).text.split())
    assert "compared by their ids alone" in text
    assert "model c: 80 of 80" in text


def test_several_runs_and_experiments(run: Path, tmp_path: Path) -> None:
    """Of several runs the run is compared; units of an experiment are there once, and say of which run they are."""
    shutil.copytree(run, tmp_path / "other")
    data, _ = unpacked(page_of(run, tmp_path / "other"))
    assert data["several"]
    assert data["texts"]["run"]["texts"] == [str(run), str(tmp_path / "other")]
    assert len(data["repeat"]) == 960
    library = [{"id": f"t{n}", "type": "import", "workflow": {"n": n}} for n in range(8)]
    for models in (["a"], ["a", "b"]):
        plan = prealloc.plan(library, whole=True, factors={"model": models})
        prealloc.run(plan, planted, experiment=tmp_path / "exp", engine="inline")
    html = page_of(tmp_path / "exp")
    data, _ = unpacked(html)
    assert len(data["repeat"]) == 16
    assert sorted(data["texts"]["run"]["texts"]) == [str(tmp_path / "exp" / "runs" / f"000{n}") for n in (1, 2)]
    assert "b" in Parsed(html).text


def test_what_ran_again_leads_with_its_first_outcome(tmp_path: Path) -> None:
    """After `resume --failed` the rate is that of first outcomes, the latest is beside it, both are in the details."""
    tasks = [{"id": str(n), "type": "x", "workflow": {"n": n}} for n in range(4)]
    prealloc.run(prealloc.plan(tasks, whole=True), second_time, tmp_path / "run", engine="inline")
    prealloc.resume(tmp_path / "run", failed=True)
    html = page_of(tmp_path / "run")
    text = " ".join(Parsed(html).text.split())
    assert "2 units that had failed ran again, 2 became successes" in text
    data, details = unpacked(html)
    statuses = [data["texts"]["first"]["texts"][each] for each in data["texts"]["first"]["column"]]
    assert statuses == ["failed", "ok", "failed", "ok"]
    assert [each[2] for each in details[data["detail"][0]]["tries"]] == ["failed", "ok"]


def second_time(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    if task.workflow["n"] % 2 == 0 and ctx.attempt == 1:
        raise ValueError("not yet")
    return {"success": True}


def test_the_command(run: Path, type_: Type, tmp_path: Path) -> None:
    """It writes over an older report and nothing else; what is wrong is exit code 2, all at once."""
    done = type_("report", str(run), "--out", "r.html", "--json")
    told = json.loads(done.out)
    assert (done.code, told["out"], told["units"]) == (0, "r.html", 480)
    assert (tmp_path / "r.html").stat().st_size == told["bytes"]
    assert type_("report", str(run), "--out", "r.html", "--baseline", "b", "--margin", "5%").code == 0
    (tmp_path / "mine.html").write_text("<p>mine")
    done = type_("report", str(run), "--out", "mine.html")
    assert (done.code, (tmp_path / "mine.html").read_text()) == (2, "<p>mine")
    assert "it is not a report" in done.err
    os.mkfifo(tmp_path / "pipe")
    assert type_("report", str(run), "--out", "pipe").code == 2
    for words in (["--factor", "modle"], ["--baseline", "z"], ["--rows", "0", "--details", "some"]):
        assert type_("report", str(run), "--out", "r.html", *words).code == 2
    assert type_("report", str(tmp_path), "--out", "r.html").code == 2


def test_wrong_options_are_told_together() -> None:
    """Every mistake at once, before any folder is read."""
    with pytest.raises(OptionsError) as raised:
        gather("nowhere", rows=0, details="some", margin="200%")  # type: ignore[arg-type]
    assert {mistake.where for mistake in raised.value.mistakes} == {"‹rows›", "‹details›", "‹margin›"}


def test_lanes_over_time(tmp_path: Path) -> None:
    """What the log of a lane says is a picture and a table; lines that are no such thing change nothing."""
    tasks = [{"id": str(n), "type": "x", "workflow": {"n": n}} for n in range(4)]
    lanes = [prealloc.Lane(name="key-1", requests_per_minute=600), prealloc.Lane(name="key-2")]
    plan = prealloc.plan(tasks, whole=True, factors={"model": ["a"]}, lanes=lanes)
    prealloc.run(plan, planted, tmp_path / "run", engine="inline")
    at = min(ended.attempt.started_at for ended in gather(tmp_path / "run").sources[0].attempts)
    told = [
        {"at": at, "event": "lane_changed", "lane": "key-1", "limit": 4, "window_s": 1.0, "reason": "429"},
        {"at": at, "event": "lane_paused", "lane": "key-1", "wait_s": 90, "http_status": 429},
        {"at": at, "event": "lane_halted", "lane": "key-1", "reason": "<b>401", "hint": "fix it"},
        {"at": "x", "event": "lane_paused"},
    ]
    log = tmp_path / "run" / "lanes" / "lane-00.jsonl"
    log.write_text("".join(json.dumps({"session": 1, **line}) + "\n" for line in told) + "{")
    text = " ".join(Parsed(page_of(tmp_path / "run")).text.split())
    assert "240 requests/min at last" in text
    assert "lane key-1 halted: <b>401; fix it" in text
    assert "1 min 30 s" in text
    assert "HTTP 429" in text


def test_what_lanes_and_tokens_took(tmp_path: Path) -> None:
    """Requests, answers 429 and limits are in the picture and its table; tokens and cost in the head."""
    tasks = [{"id": str(n), "type": "x", "workflow": n} for n in range(4)]
    plan = prealloc.plan(tasks, whole=True, factors={"model": ["a", "b"]}, lanes=[prealloc.Lane(name="key-1")])
    prices = {"a": {"input": 100, "output": 0}}
    prealloc.run(plan, spends, tmp_path / "run", engine="inline", prices=prices)
    at = min(ended.attempt.started_at for ended in gather(tmp_path / "run").sources[0].attempts)
    lanes = {"key-1": {"limit": 5.0, "turns": 120, "tokens": 9000, "refused": 3, "holders": 1}}
    sample = dict.fromkeys(("master", "workers", "other", "running", "waiting"), 0) | {"session": 1}
    lines = [{**sample, "at": at + s, "s": s, "lanes": lanes} for s in (60.0, 0.0)]
    (tmp_path / "run" / "telemetry.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = page_of(tmp_path / "run")
    text = " ".join(Parsed(page).text.split())
    assert "300 requests/min at last, 6 x HTTP 429" in text
    assert '<td class="n">240</td><td class="n">18.0k</td><td class="n">6</td>' in page
    assert 'class="requests"' in page
    assert 'class="refused"' in page
    assert "<dt>tokens of all attempts</dt><dd>8.0k</dd>" in page
    assert "<dt>cost</dt><dd>$0.40 <span>4.0k tokens without a price are not in it</span></dd>" in page


def spends(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, bool]:
    """A thousand tokens."""
    ctx.usage({"input": 1000})
    return {"success": True}


def test_the_ends_of_attempts(run: Path) -> None:
    """An attempt ends before the next at its unit begins; the unit's waiting is not counted twice."""
    found = attempts_of(RunPaths(run))
    assert len(found.by_unit) == 480
    again = [tries for tries in found.by_unit.values() if len(tries) == 2]
    assert len(again) == 8
    for first, second in again:
        began = second.attempt.started_at
        assert first.attempt.again
        assert first.attempt.started_at <= first.ended_at <= began + 0.05
        assert second.ended_at - began == pytest.approx(second.attempt.working_s, abs=0.05)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("step 3 of 17 failed", "step <n> of <n> failed"),
        ("no file /data/run/7/a.csv", "no file <path>"),
        ("key 'user-7' is missing", "key <text> is missing"),
        ("don't do that, can't", "don't do that, can't"),
        ("at 0x7f3a, id 4be0643f1d98573b", "at <hex>, id <hex>"),
        ("123e4567-e89b-12d3-a456-426614174000 not found", "<uuid> not found"),
        ("GET https://api.example/v1?x=1 gave 503\nmore", "GET <url> gave <n>"),
        ("added decade", "added decade"),
    ],
)
def test_templates(message: str, expected: str) -> None:
    """What differs from unit to unit is masked, words are not."""
    assert template(message) == expected


def test_svg_is_escaped_where_it_is_made() -> None:
    """Texts and attributes of a picture are never markup."""
    made = tag("text", HOSTILE[1], class_=HOSTILE[1], x=1.5)
    assert made.count("<") == 2
    assert made.count('"') == 4


def test_an_axis_leaves_out_what_is_empty() -> None:
    """A run that goes on a day later: the day takes no room, and what is left out is told."""
    axis = Axis([(0, 10), (5, 20), (86_400, 86_420)], 0, 1000)
    assert axis.x(0) == 0
    assert axis.x(86_420) == pytest.approx(1000)
    assert axis.x(20) == pytest.approx(487)
    assert axis.x(50_000) == axis.x(20)
    assert axis.x(50_000, begins=True) == axis.x(86_400)
    ((_, gap_s),) = axis.gaps
    assert gap_s == 86_380
    assert Axis([], 0, 10).x(5) == 0


def test_many_attempts_are_an_area() -> None:
    """Above 2,000 bars there is no bar for each: the picture's size does not grow with the run."""
    bars = [timeline.Bar(n / 10, n / 10 + 3, "ok") for n in range(30_000)]
    made = timeline.timeline([timeline.Row("", "s", bars)], [], "")
    assert len(made) < 100_000
    assert "30 at once" in made


def test_a_bar_of_a_rate_holds_its_point() -> None:
    """At both ends the point lies within the interval's bar, on the same scale."""
    for rate in (0.0, 0.5, 1.0):
        made = bars.interval("i", rate, rate, rate, "")
        assert re.search(r'<rect[^>]*x="([\d.]+)%"', made)[1] == re.search(r'cx="([\d.]+)%"', made)[1]  # type: ignore[index]
