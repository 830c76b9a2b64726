"""A config file as it may be written: sections, keys and kinds of values, for `prealloc config schema` and the check.

Only who reads a config file imports this. What values mean together is checked where the values live: by
PlanSpec.checked, Lane.checked, RunPolicy.checked and Effort.checked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from prealloc.model.spelling import EVERY_FIELD

Whole = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scalars = Annotated[
    list[Any],
    WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}}),
]
Kept = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if value == EVERY_FIELD else value),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"const": EVERY_FIELD}]}),
]
Limit = Annotated[Any, WithJsonSchema({"type": ["number", "string"]})]
"""A number, or a text that RunPolicy.checked reads; `none` is no limit."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class LibrarySection(Section):
    """The task library."""

    path: str | None = None
    """A file; `{difficulty}` in it, or a folder, leads to one for each difficulty. From this file's folder."""
    difficulty: str | None = None
    """Which library, if difficulty is no factor."""
    require_workflow: bool = False
    """Refuse a library in which a task has no workflow."""


class SamplingSection(Section):
    """Which tasks each cell gets, and how many shards."""

    shards: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Shards of each cell, each for one worker process."""
    num_instances: Whole | None = None
    """Tasks per shard."""
    num_instances_per_cell: Whole | None = None
    """Tasks per cell, dealt over the lanes that serve its model."""
    per_type: bool = False
    """num_instances of each type."""
    quotas: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Tasks per shard of each named type."""
    stratify: bool = False
    """Keep the library's proportions of types."""
    whole: bool = False
    """Deal the whole library out."""
    types: list[str] = []
    """Only tasks of these types."""
    strategy: Literal["disjoint", "paired", "independent"] = "disjoint"
    """Of the shards of one cell. Cells always get the same tasks."""
    repeats: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Run each task so often."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Another seed is another sample."""
    ranking: Literal[1, 2] = 2
    """The version of the ranking scheme; 1 samples as plans from before did."""
    keep: Kept = []
    """Further task fields to ship; "all" is every field."""
    settings: dict[str, Any] = {}
    """The same as [settings]."""


class LaneSection(Section):
    """An API key or deployment that shards queue for, and what it bears."""

    name: str
    models: list[str] = []
    """The models that it serves; none named: every model."""
    deployment: str | None = None
    """Given to its shards as the setting deployment."""
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    """The NAME of the environment variable that holds the key; given to its shards as api_key_env."""
    shards_at_once: Whole = 1
    concurrency: Whole | None = None
    """Tasks at once over all its shards together."""
    queries_per_second: Whole | None = None
    requests_per_minute: Whole | None = None
    tokens_per_minute: Whole | None = None


class RunSection(Section):
    """How the plan is run."""

    worker: str | None = None
    """module:function, called as function(task, ctx)."""
    engine: str = "local"
    concurrency: Whole = 1
    """Tasks at once in each worker."""
    workers: Whole | None = None
    """Shards at once."""
    timeout_s: Limit = 600
    """Working time of one attempt; "none" is no limit."""
    max_wait_s: Limit = 3600
    """Waiting time of one task, for rate limits and backoff."""
    retries: Annotated[int, Field(ge=0)] = 3
    """Further attempts after an infrastructure error."""
    rate_mode: Literal["fixed", "adaptive"] = "fixed"
    halt_after_infra: Limit = 20
    """A lane starts no further task after so many infrastructure outcomes in a row."""
    cleanup: str | None = None
    """module:function, called as function(unit, notes) for an attempt that was killed before it could clean up."""
    drain_s: Limit = 10
    """What running tasks get to end after the first Ctrl-C."""
    grace_s: Limit = 5
    """What a task whose time is over gets to clean up, before it is killed."""
    start_s: Limit = 120
    memory_bytes: Limit | None = None
    """What one worker may hold, with all it starts."""
    max_result_bytes: Whole = 16 * 2**20
    max_log_bytes: Whole = 64 * 2**20
    fsync: bool = False
    """Outcomes survive power loss too."""


class EstimateSection(Section):
    """What one task takes, for the estimate of `prealloc plan`."""

    requests_per_task: Positive = 1
    tokens_per_task: Positive | None = None
    seconds_per_task: Positive | None = None


class Config(Section):
    """A prealloc experiment: `prealloc plan --config FILE`, then `prealloc run PLAN --config FILE`."""

    library: LibrarySection = LibrarySection()
    sampling: SamplingSection = SamplingSection()
    factors: dict[str, Scalars] = {}
    """Any names. The cells are the combinations of their values."""
    exclude: list[dict[str, Any]] = []
    """Partial cells: the cells that hold one of them are left out."""
    settings: dict[str, Any] = {}
    """Given to every worker function as ctx.settings, beside the factors."""
    lanes: list[LaneSection] = []
    run: RunSection = RunSection()
    estimate: EstimateSection = EstimateSection()
