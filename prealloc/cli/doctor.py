"""prealloc doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag, in_flags, parsed, takes
from prealloc.cli.output import Stop, print_json, with_texts
from prealloc.cli.signals import ended_by_signals
from prealloc.errors import Mistake, refuse
from prealloc.model.policy import EngineOptions

if TYPE_CHECKING:
    from prealloc.doctor.finding import Diagnosis


@command(good="nothing is worse than a warning", bad="there are problems")
@takes(EngineOptions, but=("hosts", "logs", "room"))
def doctor(
    run: Annotated[Path | None, typer.Argument(help="Also check this run folder.", metavar="RUN")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="Folder whose file system to check.",
            metavar="FOLDER",
            show_default="the run's, else the current folder",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move damaged journal lines to journal-aside/; list the units that run again."),
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="Check this engine instead: it starts one host, and what is found there is shown.",
            metavar="ENGINE",
        ),
    ] = None,
    worker: Annotated[
        str | None,
        typer.Option("--worker", help="With --engine: also import this on the host.", metavar="MODULE:FUNCTION"),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="With --engine: a variable that workers need. Repeatable.", metavar="NAME"),
    ] = None,
    json: JsonFlag = False,
    *,
    given: dict[str, Any],
) -> None:
    """Check this machine, and a run folder, and say what to fix.

    Each check performs the operation it reports on.

    Examples:

      prealloc doctor
      prealloc doctor --folder /scratch/me
      prealloc doctor run/
      prealloc doctor run/ --repair
      prealloc doctor --engine slurm --engine-option partition=cpu \\
        --worker my_agent:solve
    """
    mistakes: list[Mistake] = []
    options = parsed(given, mistakes)
    if engine is not None and (run is not None or folder is not None):
        mistakes.append(Mistake("--engine", "it is checked by itself", "omit the run and --folder"))
    if engine is None and (worker is not None or key or options):
        mistakes.append(Mistake("--worker, --key and options of hosts", "they are of an --engine", "name the engine"))
    if repair and run is None:
        mistakes.append(Mistake("--repair", "no run is named", "name the run folder: prealloc doctor RUN --repair"))
    if folder is not None and run is not None:
        mistakes.append(Mistake("--folder", "a run is checked in its own folder", "omit --folder or the run"))
    refuse(mistakes)
    from prealloc.api import doctor as api

    if engine is not None:
        with ended_by_signals(nothing="stopped; the host ends by itself"):
            _show(api.diagnose_engine(engine, worker, variables=key or (), **options), json)
        return
    with ended_by_signals(nothing="stopped; no line of the journal is lost: run the repair again"):
        repaired = api.repair(run) if repair and run is not None else None
    with ended_by_signals():  # for the temporary folders that files are tried in
        found = api.diagnose(run, folder=folder if folder is not None else Path())
    _show(msgspec.structs.replace(found, repair=repaired), json)


def _show(found: Diagnosis, json: bool) -> None:
    found = msgspec.convert(with_texts(msgspec.to_builtins(found), in_flags), type(found))
    if json:
        print_json({"exit_code": found.exit_code, **msgspec.structs.asdict(found)})
    else:
        from prealloc.report.doctor_view import render_diagnosis

        render_diagnosis(found).print()
    if found.exit_code:
        raise Stop(found.exit_code)
