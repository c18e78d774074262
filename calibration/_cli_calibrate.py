"""`freqprop calibrate`: run a procedure on a bench, show beforehand what it drives, leave a record."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibration.record_names import RECORDS_FOLDER

if TYPE_CHECKING:
    from calibration.options import Option
    from calibration.procedure import Plan, Procedure
    from calibration.records import CalibrationRecord, RecordFolder
    from calibration.subject import Subject
    from freqprop_lab.bench import Bench

_PLAIN_EVERY = 5.0  # s
_MOST_LEADS = 16
_BAD = 1
_ALL = "all"


class _Asked(click.ParamType[Any]):
    """An option of a procedure: a number with or without its unit, a share that may be in per cent, or text."""

    def __init__(self, option: Option) -> None:
        kinds = {"": type(option.default).__name__, "1": "share"}
        self.name, self._option = kinds.get(option.unit, option.unit), option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the plain value; bounds are the procedure's to check."""
        from calibration.options import parse  # noqa: PLC0415

        try:
            return parse(self._option, value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Procedures(click.Group):
    """A command for each procedure, made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from calibration.registry import procedure_names  # noqa: PLC0415

        return [*procedure_names(), _ALL, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from calibration.registry import procedure_names  # noqa: PLC0415

        known = procedure_names()
        return _command(cmd_name) if cmd_name in (*known, _ALL) else super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from freqprop_lab.names import nearest, shown  # noqa: PLC0415

        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise click.UsageError(f'no procedure "{args[0]}".{nearest(args[0], known)} There are: {shown(known)}', ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Procedures)
def calibrate() -> None:
    """Measure what a bench really does, and leave dated records that correct it.

    On a bench that nobody knows begin with wiring, mend what it names, then all. A bench file uses the records once it
    says calibration: {folder: calibrations}.
    """


@calibrate.command("report")
@click.argument("folder", type=click.Path(path_type=Path), default=Path(RECORDS_FOLDER))
@click.option("--out", type=click.Path(path_type=Path), help="The page; calibration.html in the folder if left out.")
@click.option("--bench", help="Only the records of the bench of this name.")
def report(folder: Path, out: Path | None, bench: str | None) -> None:
    """Write one HTML page of the newest records in FOLDER (calibrations): verdicts, plots, values, references."""
    from calibration.records import RecordError, RecordFolder  # noqa: PLC0415
    from calibration.report import write_calibration_report  # noqa: PLC0415

    def refused(error: RecordError) -> None:
        click.echo(f"note: {Path(error.path).name} is not used: {error.message}", err=True)

    page = out or folder / "calibration.html"
    click.echo(f"wrote {write_calibration_report(RecordFolder(folder), page, datetime.now(UTC), bench, refused)}")


def _command(name: str) -> click.Command:
    from calibration.options import options_of  # noqa: PLC0415
    from calibration.registry import procedure_class  # noqa: PLC0415

    options: tuple[Option, ...] = ()
    if name == _ALL:
        words = "Run every procedure that this bench allows, in the order in which they build on each other."
    else:
        cls = procedure_class(name)
        options = options_of(cls)
        needs = "".join(f"\n\n- {need}" for need in cls.needs)
        words = f"{cls.title[0].upper()}{cls.title[1:]}.{' It needs:' if needs else ''}{needs}"
    parameters: list[click.Parameter] = [
        click.Argument(["bench_file"], metavar="BENCH.yaml", type=click.Path(path_type=Path)),
        click.Option(["--dry-run"], is_flag=True, help="Show what would be driven and for how long; drive nothing."),
        click.Option(
            ["--folder"], type=click.Path(path_type=Path), help=f"Of the records; {RECORDS_FOLDER}/ beside the file."
        ),
        click.Option(["--experiment"], type=click.Path(path_type=Path), help="Whose ports a drawn network gets."),
        click.Option(["--operator"], default="", help="Who does it; the user's name if left out."),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            help="Print one JSON object a procedure, a line each: its record, or with --dry-run its plan.",
        ),
    ]
    parameters += [
        click.Option([each.flag], type=_Asked(each), default=each.default, show_default=True, help=each.says)
        for each in options
    ]

    def run(**given: Any) -> None:
        _run(name, given)

    return click.Command(name, params=parameters, callback=run, help=words)


def _run(name: str, given: dict[str, Any]) -> None:
    from calibration.errors import CalibrationError  # noqa: PLC0415
    from calibration.registry import make_procedure, procedure_names  # noqa: PLC0415

    fixed = {key: given.pop(key) for key in ("bench_file", "dry_run", "folder", "experiment", "operator", "as_json")}
    try:
        names = procedure_names() if name == _ALL else [name]
        procedures = [make_procedure(each, **given) for each in names]
        _calibrate(procedures, **fixed, all_of_them=name == _ALL)
    except CalibrationError as error:
        raise click.ClickException(str(error)) from None


def _calibrate(
    procedures: list[Procedure],
    bench_file: Path,
    folder: Path | None,
    experiment: Path | None,
    operator: str,
    *,
    dry_run: bool,
    as_json: bool,
    all_of_them: bool,
) -> None:
    from calibration.correction import correction_from  # noqa: PLC0415
    from calibration.errors import CalibrationError  # noqa: PLC0415
    from calibration.records import RecordFolder  # noqa: PLC0415
    from calibration.running import known_records  # noqa: PLC0415
    from calibration.subject import subject_of  # noqa: PLC0415
    from freqprop_lab.stopping import watch_signals  # noqa: PLC0415

    bench, place = _opened(bench_file, folder, experiment)
    records = RecordFolder(place)
    any_bad, told = False, set[str]()
    with _left(bench, as_found=dry_run), watch_signals() as stop:
        for procedure in procedures:
            wants = procedure.wants_corrected_bench
            bench.correction = correction_from(bench, records, datetime.now(UTC)) if wants else None
            known = known_records(records, bench, datetime.now(UTC))
            subject = subject_of(bench, known)
            subject.traceability()  # also in a dry run: references may name nothing
            _tell(told, () if bench.correction is None else bench.correction.notes, known.left_out)
            plan = _planned(procedure, subject, skip=all_of_them)
            if plan is None:
                continue
            if dry_run and as_json:
                click.echo(json.dumps(_plain(procedure, plan, subject)))
            elif not as_json:
                _show_plan(procedure, plan, subject)
            if dry_run:
                continue
            try:
                record = _one(bench, procedure, records, operator, stop, as_json=as_json)
            except CalibrationError as error:
                if not all_of_them:
                    raise
                click.echo(f"{procedure.name}: no record. {error}", err=True)
                any_bad = True
                continue
            any_bad |= record.verdict.status == "bad"
    if dry_run:
        click.echo("nothing was driven", err=as_json)
    elif any_bad:
        sys.exit(_BAD)


@contextmanager
def _left(bench: Bench, *, as_found: bool) -> Iterator[None]:
    """Close a bench at the end; as_found: with its elements where they were before it was opened."""
    try:
        yield
    finally:
        if as_found:
            bench.leave(as_found=True)
        else:
            bench.close()


def _tell(told: set[str], *notes: tuple[str, ...]) -> None:
    """Tell on stderr of records that are not used, or used with doubt, each once."""
    for note in (note for each in notes for note in each if note not in told):
        told.add(note)
        click.echo(f"note: {note}", err=True)


def _opened(bench_file: Path, folder: Path | None, experiment: Path | None) -> tuple[Bench, Path]:
    from freqprop_lab import session  # noqa: PLC0415
    from freqprop_lab.bench import open_bench  # noqa: PLC0415
    from freqprop_lab.config import BenchRequest, read_bench_file  # noqa: PLC0415

    settings = read_bench_file(bench_file)
    request = BenchRequest()
    if experiment is not None:
        request = session.request_of(session.load_experiment(experiment), session.BenchWishes())
    section = settings.model.calibration
    named = RECORDS_FOLDER if section is None or section.folder is None else section.folder
    return open_bench(settings, request, corrected=False), folder or settings.folder / named


def _planned(procedure: Procedure, subject: Subject, *, skip: bool) -> Plan | None:
    """Return the plan, checked; where one of many procedures can't be, say why and leave it out."""
    from calibration.errors import CalibrationError  # noqa: PLC0415
    from calibration.running import check_plan  # noqa: PLC0415

    try:
        plan = procedure.plan(subject)
        check_plan(subject, plan)
    except CalibrationError as error:
        if not skip:
            raise
        click.echo(f"{procedure.name}: left out. {error}", err=True)
        return None
    return plan


def _one(
    bench: Bench, procedure: Procedure, records: RecordFolder, operator: str, stop: Any, *, as_json: bool
) -> CalibrationRecord:
    from calibration.running import calibrate as run  # noqa: PLC0415

    with _progress(procedure.name) as tell:
        done = run(bench, procedure, records, stop=stop, tell=tell, operator=operator)
    record = done.record
    if as_json:
        told = {"procedure": record.procedure, "path": str(done.path), "verdict": vars(record.verdict)}
        click.echo(json.dumps(told))
        return record
    click.echo(f"{procedure.name}: {record.verdict.status}")
    for words in record.verdict.words:
        click.echo(f"  {words}")
    click.echo(f"  record: {done.path}")
    return record


def _show_plan(procedure: Procedure, plan: Plan, subject: Subject) -> None:
    click.echo(f"{procedure.name}: {procedure.title}")
    programmed = f", {plan.n_programmings} programmings" if plan.n_programmings else ""
    click.echo(f"  {plan.n_records} records{programmed}, {_duration(plan.seconds)} of signal")
    live = [number for number, on in enumerate(subject.live) if on]
    for number in live[:_MOST_LEADS]:
        lead = subject.leads[number]
        span = f"{plan.lowest[number]:.4g} to {plan.highest[number]:.4g} {lead.unit}"
        click.echo(f"  drives {lead.name:16} at node {subject.node_of(lead):12} {span}")
    if len(live) > _MOST_LEADS:
        click.echo(f"  ... and {len(live) - _MOST_LEADS} more channels")
    if plan.conductances is not None:
        low, high = float(plan.conductances[0].min()), float(plan.conductances[1].max())
        click.echo(f"  programs {len(plan.conductances[0])} elements, from {low:.3g} to {high:.3g} S")
    for words in plan.words:
        click.echo(f"  {words}")


def _plain(procedure: Procedure, plan: Plan, subject: Subject) -> dict[str, Any]:
    """Return the plan's numbers, in V, A, S and s, by the names of channels and branches."""
    leads = {
        lead.name: {
            "node": subject.node_of(lead),
            "unit": lead.unit,
            "lowest": float(plan.lowest[number]),
            "highest": float(plan.highest[number]),
        }
        for number, lead in enumerate(subject.leads)
        if subject.live[number]
    }
    low, high = plan.conductances or ((), ())
    return {
        "procedure": procedure.name,
        "records": plan.n_records,
        "programmings": plan.n_programmings,
        "seconds": plan.seconds,
        "drives": leads,
        "programs": {
            name: {"lowest": float(least), "highest": float(most)}
            for name, least, most in zip(subject.network.tunable_names, low, high, strict=False)
        },
        "terminals": list(plan.terminals),
        "words": list(plan.words),
    }


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int, str], None]]:
    """Give a function that shows how far a procedure is: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(name, total=None)
            yield lambda done, total, says: bar.update(task, completed=done, total=total, description=says or name)
        return
    last = time.monotonic()

    def tell(done: int, total: int, says: str) -> None:
        nonlocal last
        if time.monotonic() - last > _PLAIN_EVERY:
            last = time.monotonic()
            click.echo(f"{name}: record {done + 1} of {total} {says}", err=True)

    yield tell
