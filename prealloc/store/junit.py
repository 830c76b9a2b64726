"""Outcomes as JUnit XML, for CI systems that show tests: a suite for each cell, a case for each unit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from prealloc.model.json_value import plain
from prealloc.model.outcome import Status
from prealloc.store.unit_outcome import UnitOutcome

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ERRORS = frozenset({Status.TIMEOUT, Status.CRASHED, Status.OUT_OF_MEMORY, Status.INFRA})


def junit_text(units: Iterable[tuple[UnitOutcome, Mapping[str, Any]]]) -> str:
    """The file. A unit that is `failed`, or not a success, is a failure; what timed out, crashed, ran out of memory or
    met infrastructure errors is an error; what is undecided is skipped. Characters that XML 1.0 cannot hold are "?".
    """
    suites: dict[str, list[UnitOutcome]] = {}
    for unit, cell in units:
        name = ", ".join(f"{name}={plain(value)}" for name, value in cell.items())
        suites.setdefault(_clean(name or "all"), []).append(unit)
    root = ElementTree.Element("testsuites")
    for name, members in suites.items():
        suite = ElementTree.SubElement(root, "testsuite", name=name, tests=str(len(members)))
        kinds = [_case(suite, unit) for unit in members]
        for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            suite.set(attribute, str(kinds.count(kind)))
        suite.set("time", f"{sum(unit.working_s or 0.0 for unit in members):.3f}")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, unit: UnitOutcome) -> str | None:
    """Adds the unit; gives the name of what is below it, if anything is."""
    named = {"name": f"{unit.task}#{unit.repeat}", "classname": f"{unit.shard}.{unit.type}"}
    case = ElementTree.SubElement(suite, "testcase", {name: _clean(text) for name, text in named.items()})
    case.set("time", f"{unit.working_s or 0.0:.3f}")
    kind = _kind(unit)
    if kind is None:
        return None
    error = unit.error
    why = "its result says success: false" if unit.status is Status.OK else unit.status.value
    said = f"{error.type}: {error.message}" if error is not None else why
    below = ElementTree.SubElement(case, kind, message=_clean(said))
    if error is not None and error.traceback:
        below.text = _clean(error.traceback)
    return kind


def _kind(unit: UnitOutcome) -> str | None:
    if unit.status is Status.FAILED or (unit.status is Status.OK and unit.success is False):
        return "failure"
    if unit.status in _ERRORS:
        return "error"
    return None if unit.status is Status.OK else "skipped"


def _clean(text: str) -> str:
    return _NO_XML.sub("?", text)
