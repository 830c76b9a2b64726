"""What the provider for Slurm concludes from what Slurm says. Real ones are in tests/engines."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from prealloc.engines.hosts.providers.__main__ import BUSY_AGAIN_S, BUSY_S, Starts
from prealloc.engines.hosts.providers.base import ProviderError
from prealloc.engines.hosts.providers.messages import Busy, FromProvider, Gone, Start, Started
from prealloc.engines.hosts.providers.slurm import ABSENT_S, UNREACHABLE_S, SlurmProvider, refusal
from prealloc.errors import OptionsError


class _Slurm:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.now = 0.0
        self.jobs: dict[int, str] = {}
        self.refuses: ProviderError | None = None
        self.asked: list[Sequence[str]] = []
        options = {"folder": str(folder), **options}
        self.provider = SlurmProvider(options, call=self._call, now=lambda: self.now)

    def _call(self, command: Sequence[str], given: str) -> str:
        self.asked.append(command)
        if self.refuses:
            raise self.refuses
        if command[0] == "sbatch":
            number = 7 + len(self.jobs)
            self.jobs[number] = "PENDING|Resources"
            return f"{number};cluster\n"
        if command[0] == "squeue":
            self.now += 0.5
            return "".join(f"{number}|{state}\n" for number, state in self.jobs.items() if state)
        return ""

    def gone(self, after_s: float = 1.0) -> Mapping[str, str]:
        self.now += after_s
        return dict(self.provider.gone())


@pytest.mark.parametrize(
    "state", ["RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING", "REQUEUED", "STAGE_OUT", "NEW_ONE"]
)
def test_only_a_state_that_is_an_end_counts_as_one(tmp_path: Path, state: str) -> None:
    """A state that is not known is none."""
    slurm = _Slurm(tmp_path)
    assert slurm.provider.start("a", b"{}") == "Slurm job 7"
    slurm.jobs[7] = f"{state}|None"
    assert slurm.gone() == {}
    slurm.jobs[7] = "PREEMPTED|None"
    assert slurm.gone() == {"a": "Slurm says PREEMPTED, job 7"}
    assert slurm.gone() == {}


def test_absence_counts_only_after_a_while(tmp_path: Path) -> None:
    """A listing may leave a job out, and one that was submitted just now."""
    slurm = _Slurm(tmp_path)
    slurm.provider.start("a", b"{}")
    slurm.jobs[7] = ""
    assert slurm.gone(ABSENT_S / 2) == {}
    slurm.jobs[7] = "RUNNING|None"
    assert slurm.gone() == {}
    slurm.jobs[7] = ""
    assert slurm.gone(ABSENT_S - 1) == {}
    assert slurm.gone(2) == {"a": "Slurm no longer lists it, job 7"}


def test_a_controller_that_is_away_for_a_while_is_not_lost(tmp_path: Path) -> None:
    """Its jobs run on. Only after a minute it is told, and when it is back its jobs are known as before."""
    slurm = _Slurm(tmp_path)
    slurm.provider.start("a", b"{}")
    slurm.refuses = ProviderError("squeue refuses: Unable to contact slurm controller")
    assert slurm.gone(UNREACHABLE_S / 2) == {}
    with pytest.raises(ProviderError, match="Unable to contact"):
        slurm.gone(UNREACHABLE_S)
    slurm.refuses = None
    assert slurm.gone() == {}
    slurm.jobs[7] = "NODE_FAIL|None"
    assert slurm.gone() == {"a": "Slurm says NODE_FAIL, job 7"}


def test_a_refusal_is_in_slurm_s_words(tmp_path: Path) -> None:
    """And no job is waited for."""
    slurm = _Slurm(tmp_path)
    slurm.refuses = ProviderError("sbatch refuses: sbatch: error: Invalid account")
    with pytest.raises(ProviderError, match="Invalid account"):
        slurm.provider.start("a", b"{}")
    slurm.refuses = None
    assert slurm.gone() == {}
    assert not [command for command in slurm.asked if command[0] == "squeue"]


def test_options_become_words_and_none_undoes_what_must_hold(tmp_path: Path) -> None:
    """A host is never run again by Slurm, whatever the user adds: ours are the last words."""
    slurm = _Slurm(tmp_path, partition="gpu", cpus_per_task="4", extra="--requeue --reservation='my own'")
    slurm.provider.start("a", b"{}")
    (command,) = slurm.asked
    assert command[:3] == ["sbatch", "--partition=gpu", "--cpus-per-task=4"]
    assert "--reservation=my own" in command
    assert command.index("--no-requeue") > command.index("--requeue")


def test_what_a_host_printed_last_is_told(tmp_path: Path) -> None:
    """Its output is read when it has ended. At the close nothing of it is left, and what has not ended is cancelled."""
    slurm = _Slurm(tmp_path)
    for name in ("a", "b", "c"):
        slurm.provider.start(name, b"{}")
    (output,) = (word.partition("=")[2] for word in slurm.asked[0] if word.startswith("--output="))
    Path(output).write_text("first\nno such module: agents\n")
    slurm.jobs[7] = "FAILED|NonZeroExitCode"
    reason = "Slurm says FAILED (NonZeroExitCode), job 7; the last that it printed: no such module: agents"
    assert slurm.gone() == {"a": reason}
    slurm.jobs[8] = "COMPLETED|None"
    slurm.provider.close()
    cancelled = [command for command in slurm.asked if command[0] == "scancel"]
    assert cancelled == [["scancel", "--state=PENDING", "8", "9"], ["scancel", "9"]]
    assert list(tmp_path.iterdir()) == []


def test_all_wrong_options_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OptionsError) as caught:
        _Slurm(tmp_path / "missing", extra="'open", poll="often")
    assert [mistake.problem.partition("=")[0] for mistake in caught.value.mistakes] == ["folder", "poll", "extra"]


class _Asked:
    """A provider's process that starts hosts, as its master hears it."""

    def __init__(self, slurm: _Slurm, *names: str) -> None:
        self._slurm = slurm
        self._told = io.BytesIO()
        self._starts = Starts(slurm.provider, self._told, now=lambda: slurm.now)
        self.starts = self._starts
        for name in names:
            self._starts.ask(Start(name, b"{}"))

    def after(self, seconds: float) -> list[FromProvider]:
        """What it tells from now on for so long."""
        until, at = self._slurm.now + seconds, self._told.tell()
        while self._starts.due_at <= until:
            self._slurm.now = max(self._slurm.now, self._starts.due_at)
            self._starts.go_on()
        self._slurm.now = until
        return [msgspec.json.decode(line, type=FromProvider) for line in self._told.getvalue()[at:].splitlines()]


AWAY = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


def test_a_busy_controller_is_asked_again(tmp_path: Path) -> None:
    """That it is busy is told once, for however many hosts; they come in order, and one that is taken back does not."""
    slurm = _Slurm(tmp_path)
    asked = _Asked(slurm, "a", "b", "c")
    slurm.refuses = refusal("sbatch", AWAY)
    assert asked.after(BUSY_S - 1) == [Busy(f"sbatch refuses: {AWAY}")]
    assert asked.starts.take_back("b")
    slurm.refuses = None
    assert asked.after(2 * BUSY_AGAIN_S) == [Started("a", "Slurm job 7"), Started("c", "Slurm job 8")]
    assert not asked.starts.take_back("a")


def test_a_controller_that_stays_busy_refuses(tmp_path: Path) -> None:
    """In its own words, of all that wait."""
    slurm = _Slurm(tmp_path)
    asked = _Asked(slurm, "a", "b")
    slurm.refuses = refusal("sbatch", AWAY)
    told = asked.after(BUSY_S + 2 * BUSY_AGAIN_S)
    assert told[1:] == [Gone(name, f"sbatch refuses: {AWAY}", refused=True) for name in ("a", "b")]
    asked.starts.ask(Start("c", b"{}"))
    assert asked.after(BUSY_S / 2) == [Busy(f"sbatch refuses: {AWAY}")]


@pytest.mark.parametrize(
    ("said", "again"),
    [
        (AWAY, True),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", True),
        ("sbatch: error: Batch job submission failed: Slurm backup controller in standby mode", True),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            False,
        ),
        ("sbatch: error: invalid partition specified: nowhere", False),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy", False),
        ("sbatch: unrecognized option '--nope'", False),
    ],
)
def test_only_what_may_pass_is_asked_again(tmp_path: Path, said: str, again: bool) -> None:
    """A wrong partition stays wrong: it is told at once, in Slurm's words."""
    slurm = _Slurm(tmp_path)
    slurm.refuses = refusal("sbatch", said)
    expected = Busy(f"sbatch refuses: {said}") if again else Gone("a", f"sbatch refuses: {said}", refused=True)
    assert _Asked(slurm, "a").after(1.0) == [expected]
