"""`freqprop demodulate`: a and b of a record that anybody took, with or without our instruments."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from freqprop_lab.cli._arguments import WAVEFORM_NAMES

if TYPE_CHECKING:
    from freqprop_lab.cli._recorded import Recorded
    from freqprop_lab.report import Model
    from freqprop_lab.values import Array, Flag, Response
    from freqprop_lab.waveform import Waveform

_METHODS = ("harmonic", "projection", "kink")  # lockin.METHODS, which would cost the import of numpy here
_PICTURES = (".png", ".pdf", ".svg")
_DEFAULT_PICTURE = Path("fit.png")
_SURE = 0.9999
_MOST_ROWS_NAMED = 6


class Quantity(click.ParamType[float]):
    """A number with a unit, such as 48kHz; a bare number is in that unit."""

    def __init__(self, unit: str, *, above_zero: bool = True) -> None:
        self.name, self._unit, self._above_zero = unit, unit, above_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the SI value."""
        from freqprop_lab.config import parse_quantity  # noqa: PLC0415

        try:
            number = parse_quantity(value, self._unit)[0]
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if self._above_zero and number <= 0:
            self.fail(f"{value} must be above 0", param, ctx)
        return number


@dataclass(frozen=True)
class _Reading:
    """All that table, object and picture tell. late: s, what is known of the delay, (channel,), at the first sample."""

    path: Path
    recorded: Recorded
    waveform: Waveform
    response: Response
    frequency: float
    late: Array

    @property
    def fitted(self) -> float:
        """Hz: the frequency that was fitted, or the one given."""
        return self.frequency if self.response.frequency is None else float(self.response.frequency)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--sample-rate", type=Quantity("Hz"), help="Samples a second of each channel; else from the times.")
@click.option("--frequency", type=Quantity("Hz"), required=True, help="How often the nudge repeats itself.")
@click.option("--waveform", type=click.Choice(WAVEFORM_NAMES), required=True, help="Of the nudge.")
@click.option("--unsynchronised", is_flag=True, help="The delay is unknown, and fitted for each channel.")
@click.option("--shared-delay", is_flag=True, help="Unknown, but the same for all channels: a free-running meter's.")
@click.option("--delays", metavar="LIST|JSON", help="Known ones: 2us, or one a channel; or what --json printed.")
@click.option("--skews", metavar="LIST|JSON", help="By which each channel is sampled later: '0s 10us 20us'.")
@click.option("--duty", type=float, help="Of a pulse: share of the period at the top.  [0.25]")
@click.option("--k", type=float, help="Of two-tone: size of its second tone.  [0.65]")
@click.option("--phi", type=float, help="Of two-tone: phase of its second tone, rad.  [0]")
@click.option("--hum", type=Quantity("Hz"), help="Fit mains hum near this frequency, and its harmonics.")
@click.option("--hum-harmonics", type=click.IntRange(1, 20), default=3, show_default=True, help="How many of them.")
@click.option("--drift", type=click.IntRange(0, 3), default=0, help="Fit a drift: 1 linear, 2 quadratic, 3 cubic.")
@click.option("--fit-frequency", is_flag=True, help="Clocks differ: fit one frequency to all channels.")
@click.option("--second-order", is_flag=True, help="Fit a + b f + c f^2: a nudge that is not small.")
@click.option("--robust", is_flag=True, help="Leave out spikes.")
@click.option("--range", "ends", metavar="'LOW HIGH'", help="Of the meter, 10V for -10V to 10V: heed what clips.")
@click.option("--method", type=click.Choice(_METHODS), default="harmonic", show_default=True, help="How to read.")
@click.option("--channels", metavar="LIST", help="Columns to read, by name or number from 1: n0,n3.")
@click.option("--time", metavar="COLUMN", help="Column of times, s; else the one called t or time. none: use none.")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Lines to leave out at the top of a CSV file.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Picture of fit and residual; .png, .pdf, .svg.  [fit.png]"
)
@click.option("--no-plot", is_flag=True, help="Draw nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; draws nothing without --out.")
def demodulate(
    file: Path,
    sample_rate: float | None,
    frequency: float,
    out: Path | None,
    *,
    no_plot: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Fit v = a + b f(t + delay) + noise to the record in FILE, and draw fit and residual.

    FILE: a CSV file, a column for each channel in volts and a row for each sample, with or without a line of names
    and a column of times (s); or an array, .npy, (channel, sample). Empty cells and nan are missing samples.

    Without --unsynchronised the nudge begins with the first sample, or at t = 0 where there are times. Exit status: 0
    done, 2 wrong use or wrong file.
    """
    from freqprop_lab.cli._recorded import read_recorded  # noqa: PLC0415

    picture = _picture(out, no_plot=no_plot, as_json=as_json, file=file)
    waveform = _waveform(how)
    recorded = read_recorded(
        file, sample_rate=sample_rate, time=how["time"], channels=_split(how["channels"]), skip=how["skip"]
    )
    if recorded.empty:
        from freqprop_lab.names import shown  # noqa: PLC0415

        click.echo(f"note: left out, for they hold no number: {shown(recorded.empty)}", err=True)
    reading = _read(file, recorded, frequency, waveform, how)
    model = _model(reading, how)
    if as_json:
        click.echo(json.dumps(_object(reading)))
    else:
        _show(reading, how)
    _tell_shape(reading, model, err=as_json)
    if picture is not None:
        _draw(reading, picture, model, told=not as_json)


def _read(path: Path, recorded: Recorded, frequency: float, waveform: Waveform, how: dict[str, Any]) -> _Reading:
    import numpy as np  # noqa: PLC0415

    from freqprop_lab import lockin  # noqa: PLC0415

    synchronised = not (how["unsynchronised"] or how["shared_delay"])
    parts = ("hum", "drift", "fit_frequency", "second_order", "robust", "ends")
    more = [f"--{'range' if name == 'ends' else name.replace('_', '-')}" for name in parts if how[name]]
    if how["method"] != "harmonic" and more:
        raise click.UsageError(f"--method {how['method']} fits a and b alone; leave out {', '.join(more)}, or it")
    delays = _seconds("--delays", how["delays"], recorded.names)
    skews = _seconds("--skews", how["skews"], recorded.names)
    # Phase 0 is at t = 0; whole periods make no difference, and would cost digits where t is the time of day.
    began = recorded.began % (1 / frequency)
    late = np.full(len(recorded.names), began) if skews is None else skews + began
    valid = np.isfinite(recorded.volts)
    try:
        response = lockin.demodulate(
            recorded.volts,
            recorded.sample_rate,
            waveform,
            frequency,
            synchronised=synchronised,
            delays=delays,
            skews=late if late.any() else None,
            shared_delay=how["shared_delay"],
            method=how["method"],
            valid=None if valid.all() else valid,
            limits=_ends(how["ends"]),
            **{
                name: how[name] for name in ("hum", "hum_harmonics", "drift", "fit_frequency", "second_order", "robust")
            },
        )
    except ValueError as error:
        named = re.sub(r"\bchannel (\d+)\b", lambda found: f'channel "{recorded.names[int(found[1])]}"', str(error))
        raise click.UsageError(f"{path}: {named}") from None
    known = late if delays is None else late + delays
    return _Reading(path, recorded, waveform, response, frequency, known)


def _picture(out: Path | None, *, no_plot: bool, as_json: bool, file: Path) -> Path | None:
    """Return where to draw, if anywhere; a place that can't be is refused before anything is computed."""
    if no_plot and out is not None:
        raise click.UsageError("--out says where to draw, --no-plot not to; leave one out")
    if no_plot or (as_json and out is None):
        return None
    picture = out or _DEFAULT_PICTURE
    if picture.suffix.lower() not in _PICTURES:
        raise click.UsageError(f"--out {picture}: a picture ends in {', '.join(_PICTURES)}")
    if picture.is_dir() or not picture.absolute().parent.is_dir():
        raise click.UsageError(f"--out {picture}: {'is a folder' if picture.is_dir() else 'there is no such folder'}")
    if picture.absolute() == file.absolute():
        raise click.UsageError(f"--out {picture} would overwrite the record")
    return picture


def _waveform(how: dict[str, Any]) -> Waveform:
    from freqprop_lab.waveform import WAVEFORMS, Pulse, TwoTone  # noqa: PLC0415

    chosen = WAVEFORMS[how["waveform"]]
    shape = {name: how[name] for name in ("duty", "k", "phi") if how[name] is not None}
    for name in shape:
        wanted = "pulse" if name == "duty" else "two-tone"
        if chosen.name != wanted:
            raise click.UsageError(f"--{name} is of the waveform {wanted}; this one is {chosen.name}")
    if not shape:
        return chosen
    try:
        return Pulse(**shape) if chosen.name == "pulse" else TwoTone(**shape)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _split(text: str | None) -> list[str]:
    return [] if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _seconds(option: str, text: str | None, names: tuple[str, ...]) -> Array | None:
    """Return seconds for each channel: one for all, one for each, or by name from what --json printed."""
    if text is None:
        return None
    import numpy as np  # noqa: PLC0415

    if text.endswith(".json"):
        return np.array([_of_json(option, Path(text), name) for name in names])
    values = _quantities(option, text, "s")
    if len(values) not in {1, len(names)}:
        raise click.UsageError(f"{option}: {len(values)} came; one for all channels, or one for each of {len(names)}")
    return np.array(values * len(names) if len(values) == 1 else values)


def _of_json(option: str, path: Path, name: str) -> float:
    from freqprop_lab.config import FileError, read_text  # noqa: PLC0415

    try:
        told = json.loads(read_text(path))
        delays = {channel["name"]: channel["delay"] for channel in told["channels"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FileError(path, f"{option}: is not what freqprop demodulate --json prints") from None
    delay = delays.get(name)
    if not isinstance(delay, int | float) or isinstance(delay, bool):
        raise FileError(path, f'{option}: has no delay of the channel "{name}"; take it from an unsynchronised record')
    return float(delay)


def _quantities(option: str, text: str, unit: str) -> list[float]:
    from freqprop_lab.config import parse_quantity  # noqa: PLC0415

    # "10 us, 20 us" and "10us 20us": a blank before a unit separates nothing.
    parts = [part for part in re.split(r"[,;\s]+(?=[-+.\d])", text.strip()) if part]
    try:
        return [parse_quantity(part, unit)[0] for part in parts]
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None


def _ends(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    values = _quantities("--range", re.sub(r"\bto\b", " ", text), "V")
    if len(values) == 1 and values[0] > 0:
        return -values[0], values[0]
    if len(values) != 2 or values[0] >= values[1]:
        raise click.UsageError(f'--range "{text}": the two ends are wanted, such as "-10V 10V", or 10V for both signs')
    return values[0], values[1]


def _object(reading: _Reading) -> dict[str, Any]:
    """Return what --json prints: SI units, null for what is not known."""
    from freqprop_lab.report import flag_words  # noqa: PLC0415

    response = reading.response
    values = {
        "a": response.a,
        "b": response.b,
        "a_stderr": response.a_stderr,
        "b_stderr": response.b_stderr,
        "delay": response.delay,
        "delay_stderr": response.delay_stderr,
        "sign_confidence": response.sign_confidence,
        "noise": response.noise,
    }
    channels = [
        {
            "name": name,
            **{key: None if value is None else _finite(value[number]) for key, value in values.items()},
            "flags": [] if response.flags is None else flag_words(int(response.flags[number])),
        }
        for number, name in enumerate(reading.recorded.names)
    ]
    return {
        "sample_rate": reading.recorded.sample_rate,
        "frequency": reading.fitted,
        "waveform": reading.waveform.name,
        "channels": channels,
    }


def _finite(value: float) -> float | None:
    number = float(value)
    return number if number - number == 0 else None


def _show(reading: _Reading, how: dict[str, Any]) -> None:
    from freqprop_lab.report import flag_words, scale_of  # noqa: PLC0415

    recorded, response = reading.recorded, reading.response
    n_channels, n_samples = recorded.volts.shape
    seconds = scale_of(n_samples / recorded.sample_rate, "s")
    click.echo(
        f"{reading.path}: {n_channels} channel{'s' * (n_channels != 1)}, {n_samples} samples at "
        f"{recorded.sample_rate:.10g} Hz ({seconds.of(n_samples / recorded.sample_rate)} {seconds.unit}); "
        f"{n_samples * reading.fitted / recorded.sample_rate:.4g} periods of {reading.waveform.name}, "
        f"{_known(how)}"
    )
    if response.frequency is not None:
        click.echo(
            f"fitted frequency {reading.fitted:.10g} Hz, "
            f"{(reading.fitted / reading.frequency - 1) * 1e6:+.3g} ppm from the one given"
        )
    columns: dict[str, list[str]] = {"channel": list(recorded.names)}
    for name, values, errors, unit in (
        ("a", response.a, response.a_stderr, "V"),
        ("b", response.b, response.b_stderr, "V"),
        ("delay", response.delay, response.delay_stderr, "s"),
    ):
        if values is not None:
            doubts = [float("nan")] * n_channels if errors is None else errors
            scale = scale_of([*values, *(10 * error for error in doubts)], unit)
            columns[f"{name} ({scale.unit})"] = [
                scale.with_error(float(value), float(error)) for value, error in zip(values, doubts, strict=True)
            ]
    if response.sign_confidence is not None:
        columns["sign"] = [_share(float(value)) for value in response.sign_confidence]
    if response.noise is not None:
        scale = scale_of(response.noise, "V")
        columns[f"noise ({scale.unit})"] = [scale.of(float(value)) for value in response.noise]
    flags = [[]] * n_channels if response.flags is None else [flag_words(int(value)) for value in response.flags]
    columns["flags"] = [", ".join(words) or "-" for words in flags]
    _table(columns)
    _advise(reading, how)


def _known(how: dict[str, Any]) -> str:
    if how["delays"] is not None:
        return "delays known"
    if how["shared_delay"]:
        return "one delay, unknown"
    return "delays unknown" if how["unsynchronised"] else "synchronised"


def _share(value: float) -> str:
    return f">{_SURE:.2%}" if value > _SURE else f"{value:.2%}" if value > 0.99 else f"{value:.0%}"


def _table(columns: dict[str, list[str]]) -> None:
    widths = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    left = {"channel", "flags"}
    for cells in ([*columns], *zip(*columns.values(), strict=True)):
        line = "  ".join(
            cell.ljust(widths[name]) if name in left else cell.rjust(widths[name])
            for name, cell in zip(columns, cells, strict=True)
        )
        click.echo(line.rstrip())


def _advise(reading: _Reading, how: dict[str, Any]) -> None:
    """Say in a line for each flag that was raised what to do about it."""
    from freqprop_lab.names import shown  # noqa: PLC0415
    from freqprop_lab.report import flag_words  # noqa: PLC0415
    from freqprop_lab.values import Flag  # noqa: PLC0415

    for flag in Flag:
        raised = reading.response.flagged(flag)
        if raised.any():
            who = [name for name, which in zip(reading.recorded.names, raised, strict=True) if which]
            few = shown(who) if len(who) <= _MOST_ROWS_NAMED else f"{len(who)} channels"
            click.echo(f"{flag_words(int(flag))[0]} ({few}): {_advice(flag, reading, how)}")


def _advice(flag: Flag, reading: _Reading, how: dict[str, Any]) -> str:
    from freqprop_lab.values import Flag  # noqa: PLC0415

    if flag is Flag.CLIPPED:
        return "samples at the ends of the range tell only that they lie beyond; lower the drive, or widen the range"
    if flag is Flag.MISSING:
        gaps = int((reading.recorded.volts != reading.recorded.volts).sum())
        return f"{gaps} samples are left out, and the errors are as much larger; nothing to do"
    if flag is Flag.SIGN_AMBIGUOUS:
        shared = "" if how["shared_delay"] else ", --shared-delay if all channels have one clock"
        tones = "" if reading.waveform.name == "two-tone" else ", two-tone"
        return f"the error of b covers both signs; take more periods or a stronger nudge{shared}{tones}"
    if flag is Flag.NOT_SETTLED:
        drift = "" if how["drift"] else ", or fit it with --drift 1"
        return f"level or size changes over the record; wait before you record, leave its start out{drift}"
    fit = "look at --frequency and --sample-rate" if how["fit_frequency"] else "let it be fitted with --fit-frequency"
    return f"the phase drifts over the record; {fit}"


def _model(reading: _Reading, how: dict[str, Any]) -> Model:
    from freqprop_lab.report import Model  # noqa: PLC0415

    return Model(
        reading.waveform,
        reading.fitted,
        reading.late,
        hum=how["hum"],
        hum_harmonics=how["hum_harmonics"],
        drift=how["drift"],
        second_order=how["second_order"],
        robust=how["robust"],
        limits=_ends(how["ends"]),
    )


def _tell_shape(reading: _Reading, model: Model, *, err: bool) -> None:
    """Say where the residual repeats with the nudge; no flag of the lock-in tells a wrong waveform."""
    from freqprop_lab.names import shown  # noqa: PLC0415
    from freqprop_lab.report import scale_of, shape_left  # noqa: PLC0415
    from freqprop_lab.values import Flag  # noqa: PLC0415

    recorded, response = reading.recorded, reading.response
    left = shape_left(recorded.volts, recorded.sample_rate, model, response)
    explained = response.flagged(Flag.WRONG_FREQUENCY) | response.flagged(Flag.NOT_SETTLED)
    who = [name for name, size, told in zip(recorded.names, left, explained, strict=True) if size > 0 and not told]
    if who:
        scale = scale_of(left, "V")
        order = "" if model.second_order else " A nudge that isn't small needs --second-order"
        click.echo(
            f"note: the residual repeats with the nudge ({shown(who)}; up to {scale.of(left.max())} {scale.unit} rms): "
            f"is {model.waveform.name} right, and synchronised or not?{order}",
            err=err,
        )


def _draw(reading: _Reading, picture: Path, model: Model, *, told: bool) -> None:
    from freqprop_lab.report import MissingExtraError, draw_demodulated  # noqa: PLC0415

    recorded = reading.recorded
    try:
        draw_demodulated(
            recorded.volts, recorded.sample_rate, model, reading.response, recorded.names, picture, began=recorded.began
        )
    except MissingExtraError as error:
        click.echo(f"note: no picture: {error}", err=True)
        return
    except OSError as error:
        raise click.ClickException(f"{picture} can't be written: {error.strerror or error}") from None
    if told:
        click.echo(f"wrote {picture}")
