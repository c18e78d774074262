"""`freqprop calibrate`: run a procedure on a bench, show beforehand what it drives, leave a record."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibration._cli_plans import plain_plan, show_plan, total_words
from calibration.record_names import RECORDS_FOLDER

if TYPE_CHECKING:
    from calibration.options import Option
    from calibration.procedure import Plan, Procedure
    from calibration.records import CalibrationRecord, RecordFolder
    from calibration.subject import Subject
    from freqprop_lab.bench import Bench
    from freqprop_lab.stopping import StopRequest

_PLAIN_EVERY = 5.0  # s
_BAD = 1
_ALL = "all"
_BELIEVED = "wiring"  # by all procedures that follow it
_NO_RECORD = "no record"
_WITHOUT = {"gains": "absolute values rest on calibration.assume and its references alone"}


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
    from calibration.registry import procedure_class, procedure_names  # noqa: PLC0415

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
        click.Option([each.flag], type=_Asked(each), default=each.default, help=each.help) for each in options
    ]
    if name == _ALL:
        parameters += [
            click.Option(
                ["--from", "first"],
                type=click.Choice(procedure_names()),
                metavar="NAME",
                help="Begin with this one; those before it count by the records that are there.",
            ),
            click.Option(["--go-on"], is_flag=True, help=f"Also where {_BELIEVED} is bad, which all others believe."),
        ]

    def run(**given: Any) -> None:
        _run(name, given)

    return click.Command(name, params=parameters, callback=run, help=words)


def _run(name: str, given: dict[str, Any]) -> None:
    from calibration.errors import CalibrationError  # noqa: PLC0415
    from calibration.registry import make_procedure, procedure_names  # noqa: PLC0415

    dry_run, as_json, first = given.pop("dry_run"), given.pop("as_json"), given.pop("first", None)
    call = _Call(name, **{key: given.pop(key) for key in _Call.__match_args__[1:] if key in given})
    try:
        names = procedure_names() if name == _ALL else [name]
        names = names[names.index(first) :] if first else names
        _calibrate([make_procedure(each, **given) for each in names], call, dry_run=dry_run, as_json=as_json)
    except CalibrationError as error:
        raise click.ClickException(str(error)) from None


@dataclass(frozen=True)
class _Call:
    """What was asked for, as far as a call that goes on asks for it again. name: of one procedure, or all."""

    name: str
    bench_file: Path
    folder: Path | None
    experiment: Path | None
    operator: str
    go_on: bool = False

    @property
    def is_all(self) -> bool:
        """Whether one procedure follows another, and what one of them can't do is no reason to end."""
        return self.name == _ALL

    def words(self, first: str = "") -> str:
        """Return the command, to be typed; first: the procedure to begin with."""
        command = ["freqprop", "calibrate", self.name, str(self.bench_file)]
        for flag, value in (
            ("--from", first),
            ("--folder", self.folder),
            ("--experiment", self.experiment),
            ("--operator", self.operator),
        ):
            command += [flag, str(value)] if value else []
        return shlex.join([*command, *(["--go-on"] if self.go_on else [])])


def _calibrate(procedures: list[Procedure], call: _Call, *, dry_run: bool, as_json: bool) -> None:
    from calibration.records import RecordFolder  # noqa: PLC0415
    from freqprop_lab.stopping import Interrupted, watch_signals  # noqa: PLC0415

    bench, place = _opened(call)
    series = _Series(bench, RecordFolder(place), procedures, call, as_json=as_json)
    try:
        with _left(bench, as_found=dry_run), watch_signals() as stop:
            if dry_run:
                series.show()
            else:
                series.run(stop)
    except Interrupted as interrupt:  # here the bench has been closed, and so was made safe
        raise Interrupted(series.words_of_stop(str(interrupt))) from None
    except Exception as error:
        if call.is_all and series.recorded:
            error.add_note(series.words_of_rest())
        raise
    if dry_run:
        click.echo("nothing was driven", err=as_json)
    elif series.any_bad:
        sys.exit(_BAD)


class _Series:
    """Procedures on an open bench, one after the other; each goes by the records of those before it."""

    def __init__(
        self, bench: Bench, records: RecordFolder, procedures: list[Procedure], call: _Call, *, as_json: bool
    ) -> None:
        self._bench, self._records, self._procedures, self._call = bench, records, procedures, call
        self._as_json = as_json
        self._told: set[str] = set()
        self._shown: set[str] = set()  # in a dry run, which takes them to leave their records
        self._under_way = ""
        self._rest = [procedure.name for procedure in procedures]  # what is not done yet
        self.recorded: list[str] = []
        self.any_bad = False

    def show(self) -> None:
        """Show every plan, and of several what they are together."""
        plans = []
        for procedure in self._procedures:
            subject = self._subject(procedure)
            plan = self._planned(procedure, subject)
            if plan is None:
                continue
            plans.append(plan)
            self._shown.add(procedure.name)
            if self._as_json:
                click.echo(json.dumps(plain_plan(procedure, plan, subject)))
            else:
                show_plan(procedure, plan, subject)
        if self._call.is_all:
            click.echo(total_words(plans), err=self._as_json)

    def run(self, stop: StopRequest) -> None:
        """Run them, each with its plan before it; all of them end early where the wiring is bad."""
        if self._call.is_all:
            click.echo(total_words(self._plans()), err=self._as_json)
        for procedure in self._procedures:
            self._under_way = procedure.name
            is_bad = self._run_one(procedure, stop) in ("bad", _NO_RECORD)
            self._under_way = ""
            self._rest.remove(procedure.name)
            self.any_bad |= is_bad
            if is_bad and procedure.name == _BELIEVED and self._rest and not self._call.go_on:
                click.echo(
                    "stopped: all that follows believes the wiring. Mend what is named, then begin anew with: "
                    f"{self._call.words()}; or go on all the same with: {self._call.words(self._rest[0])}",
                    err=True,
                )
                return

    def words_of_stop(self, what: str) -> str:
        """Say what a person who asked to stop should know. what: of the records, as the runner says it."""
        words = what.partition(";")[0]
        if self._under_way:
            words = f"{self._under_way}: {words}; it left no record"
        return f"{words}. The bench is safe. {self.words_of_rest()}".rstrip()

    def words_of_rest(self) -> str:
        """Say which procedures left records, and how to go on with the others."""
        if not self._call.is_all or not self._rest:
            return ""
        recorded = f"Recorded: {', '.join(self.recorded)}. " if self.recorded else ""
        return f"{recorded}Go on with: {self._call.words(self._rest[0])}"

    def _run_one(self, procedure: Procedure, stop: StopRequest) -> str:
        """Return the status of its verdict; `no record`, or nothing where the bench does not allow it."""
        from calibration.errors import CalibrationError  # noqa: PLC0415

        subject = self._subject(procedure)
        plan = self._planned(procedure, subject)
        if plan is None:
            return ""
        if not self._as_json:
            show_plan(procedure, plan, subject)
        try:
            record = _one(self._bench, procedure, self._records, self._call.operator, stop, as_json=self._as_json)
        except CalibrationError as error:
            if not self._call.is_all:
                raise
            click.echo(f"{procedure.name}: no record. {error}", err=True)
            return _NO_RECORD
        self.recorded.append(procedure.name)
        return record.verdict.status

    def _subject(self, procedure: Procedure, *, quietly: bool = False) -> Subject:
        """Return the bench as a procedure gets it, by the records that there are now, and tell of those."""
        from calibration.correction import correction_from  # noqa: PLC0415
        from calibration.running import known_records  # noqa: PLC0415
        from calibration.subject import subject_of  # noqa: PLC0415

        bench, now = self._bench, datetime.now(UTC)
        bench.correction = correction_from(bench, self._records, now) if procedure.wants_corrected_bench else None
        known = known_records(self._records, bench, now)
        subject = subject_of(bench, known)
        subject.traceability()  # also in a dry run: references may name nothing
        if not quietly:
            self._tell(() if bench.correction is None else bench.correction.notes)
            self._tell(known.left_out)
            self._tell(self._words_of_missing(procedure, list(known)))
        return subject

    def _words_of_missing(self, procedure: Procedure, known: list[str]) -> list[str]:
        """Say what a procedure will do without."""
        return [
            f"{procedure.name} has no record of {name} to go by: {_WITHOUT[name]}. Run freqprop calibrate {name} first"
            for name in procedure.goes_by
            if name not in known and name not in self._shown
        ]

    def _plans(self) -> list[Plan]:
        """Return the plans of all that can be done, as the records that there are now let them be."""
        from calibration.errors import CalibrationError  # noqa: PLC0415

        plans = []
        for procedure in self._procedures:
            with suppress(CalibrationError):  # when its turn comes this is told
                plans.append(_checked_plan(procedure, self._subject(procedure, quietly=True)))
        return plans

    def _planned(self, procedure: Procedure, subject: Subject) -> Plan | None:
        """Return the plan, checked; where one of many procedures can't be, say why and leave it out."""
        from calibration.errors import CalibrationError  # noqa: PLC0415

        try:
            return _checked_plan(procedure, subject)
        except CalibrationError as error:
            if not self._call.is_all:
                raise
            click.echo(f"{procedure.name}: left out. {error}", err=True)
            return None

    def _tell(self, notes: Iterable[str]) -> None:
        """Tell on stderr of records that are not used, used with doubt, or not there, each once."""
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                click.echo(f"note: {note}", err=True)


def _checked_plan(procedure: Procedure, subject: Subject) -> Plan:
    from calibration.running import check_plan  # noqa: PLC0415

    plan = procedure.plan(subject)
    check_plan(subject, plan)
    return plan


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


def _opened(call: _Call) -> tuple[Bench, Path]:
    """Open the bench that is asked for, as it is by itself; return where its records go, too."""
    from calibration.correction import used_procedures  # noqa: PLC0415
    from freqprop_lab import session  # noqa: PLC0415
    from freqprop_lab.bench import open_bench  # noqa: PLC0415
    from freqprop_lab.config import BenchRequest, read_bench_file  # noqa: PLC0415

    settings = read_bench_file(call.bench_file)
    used_procedures(settings)  # raises FileError: who trains by these records would hear of it too late
    request = BenchRequest()
    if call.experiment is not None:
        request = session.request_of(session.load_experiment(call.experiment), session.BenchWishes())
    section = settings.model.calibration
    named = RECORDS_FOLDER if section is None or section.folder is None else section.folder
    place = call.folder or settings.folder / named
    if named != RECORDS_FOLDER and not place.exists():
        click.echo(f"note: there is no folder {place} yet; the first record makes it", err=True)
    return open_bench(settings, request, corrected=False), place


def _one(
    bench: Bench, procedure: Procedure, records: RecordFolder, operator: str, stop: StopRequest, *, as_json: bool
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
            click.echo(f"{name}: {f'record {done + 1} of {total} ' if done < total else ''}{says}", err=True)

    yield tell
