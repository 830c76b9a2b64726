"""The keywords of public functions, for editors and type checkers.

`make reference` writes this file from the declarations of the options, as it writes docs/reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from msgspec import UnsetType

    from prealloc.model.lane import Lane


class PlanOptions(TypedDict, total=False):
    """The keywords of plan(): the fields of PlanSpec, which explain them."""

    shards: int
    num_instances: int | str | None
    per_type: bool
    quotas: Mapping[str, int]
    stratify: bool
    whole: bool
    types: Sequence[str]
    strategy: Literal["disjoint", "paired", "independent"]
    repeats: int
    seed: int
    keep: Sequence[str] | Literal["all"]
    settings: Mapping[str, Any]
    lanes: Sequence[Lane]
    factors: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]]
    exclude: Sequence[Mapping[str, Any]]
    num_instances_per_cell: int | None
    per_cell: bool | UnsetType
    ranking: int | UnsetType
    timeout_field: str | UnsetType | None
    shard_sizes: Sequence[int] | str | UnsetType | None
    unit_seed: Literal["cell", "shard"] | UnsetType


class SpecOptions(PlanOptions, total=False):
    """The keywords of PlanSpec.checked: the fields of PlanSpec, which explain them."""

    generator: str | UnsetType
    generator_version: str | UnsetType


class RunOptions(TypedDict, total=False):
    """The keywords of run() and RunPolicy.checked: the fields of RunPolicy, which explain them."""

    concurrency: int
    workers: int | None
    timeout_s: float | str | None
    max_wait_s: float | str
    retries: int
    rate_mode: Literal["fixed", "adaptive"]
    halt_after_infra: int | None
    drain_s: float | str
    grace_s: float | str
    start_s: float | str
    max_time_s: float | str | None
    max_failures: int | str | None
    max_cost: float | str | None
    memory_bytes: int | str | None
    rebalance: bool
    max_result_bytes: int | str
    max_log_bytes: int | str
    fsync: bool
    neutral: Sequence[str]
    same_task: Literal["bytes", "id"]
    where: Sequence[str | Mapping[str, Any]]


class EngineKeywords(TypedDict, total=False):
    """The keywords of run() and resume(): the fields of EngineOptions, which explain them."""

    hosts: int
    room: int | None
    lease_s: float | str
    listen: str
    engine_option: Sequence[str]
    pass_env: Sequence[str]
    ship: str | None
    logs: Literal["ends", "all"]


class PartOptions(TypedDict, total=False):
    """The keywords of run(), resume() and Part.checked: the fields of Part, which explain them."""

    only: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
    type: Sequence[str] | str
    shard: Sequence[str] | str
    unit: Sequence[str] | str
    limit: int | None
    failed: bool
    error: Sequence[str] | str


class ChangeOptions(TypedDict, total=False):
    """The keywords of Change.checked: the fields of Change, which explain them."""

    workers: int | None
    concurrency: int | None
    pause: bool | None
    lane: str | None
    rate: float | None


class FieldOptions(TypedDict, total=False):
    """The keywords of Fields.checked and of what reads a library: the fields of Fields, which explain them."""

    id_field: str | None
    type_field: str | None
    workflow_field: str | None
    tasks_field: str | None
    id_from: Literal["content", "position"] | None


class SizeKeywords(TypedDict, total=False):
    """The keywords of size(): the fields of SizeOptions, which explain them."""

    half_width: float | str | None
    difference: float | str | None
    rate: float | str
    differ: float | str
    icc: float | str
    repeats: int | None
    power: float | str
    level: float | str
    from_run: str | None
    factor: str | None


class CompareKeywords(TypedDict, total=False):
    """The keywords of compare(): the fields of CompareOptions, which explain them."""

    factor: str
    baseline: str | None
    by: Sequence[str]
    metric: Literal["success", "score", "working_s"]
    outcome: Literal["first", "latest"]
    adjust: Literal["holm", "bh", "none"]
    level: float | str
    scores: str | None
    margin: float | str | None


class ResultsKeywords(TypedDict, total=False):
    """The keywords of results(): the fields of ResultsOptions, which explain them."""

    by: Sequence[str]
    mean: Sequence[str]
    sort: str | None
    top: int | None
    outcome: Literal["first", "latest"]
    level: float | str
    cluster: str
    pass_k: int | None
    scores: str | None


class ReportKeywords(TypedDict, total=False):
    """The keywords of write_report(): the fields of ReportOptions, which explain them."""

    factor: str | None
    baseline: str | None
    margin: float | str | None
    scores: str | None
    rows: int
    details: Literal["not-ok", "all", "none"]
    title: str | None
