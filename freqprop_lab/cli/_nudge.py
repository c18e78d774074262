"""`freqprop nudge`: which nudge a bench wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from freqprop_lab.cli._quantities import quantity
from freqprop_lab.cli._templates import template_text

if TYPE_CHECKING:
    from freqprop_lab.advice import Advice, Choice

_GAMMAS_SHOWN = 9


@click.command()
@click.argument("bench_file", metavar="BENCH.yaml", type=click.Path(path_type=Path))
@click.option("--experiment", type=click.Path(path_type=Path), help="Whose task and gamma are meant; iris if left out.")
@click.option("--error", default=0.1, show_default=True, help="Wished relative error of the gradient.")
@click.option("--noise", help="Noise of a sample, V rms; the bench's own if left out.")
@click.option("--sample-rate", help="Largest sample rate, Hz; that of the bench file if left out.")
@click.option("--relaxation-time", help="Of the slowest part, s; the bench's own, where it can know it.")
@click.option("--most-samples", default=100_000, show_default=True, help="Longest record, samples a channel.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("nudge.png"), show_default=True, help="The plot.")
@click.option("--no-plot", is_flag=True, help="Draw nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def nudge(bench_file: Path, experiment: Path | None, out: Path, **options: Any) -> None:
    """Recommend how to nudge BENCH.yaml so that one record shows the gradient to a wished error.

    The network is driven and nudged as the experiment would, untrained; a numeric bench without its noise. Noise falls
    with the size of the nudge, the network's bends grow with it; relaxation grows with the frequency.
    """
    from freqprop_lab.advice import advise_nudge  # noqa: PLC0415
    from freqprop_lab.config import parse_experiment  # noqa: PLC0415
    from freqprop_lab.session import load_experiment  # noqa: PLC0415

    settings = load_experiment(experiment) if experiment else parse_experiment(template_text("iris"), Path("iris.yaml"))
    given = {
        name: quantity(f"--{name.replace('_', '-')}", options[name], unit)
        for name, unit in (("noise", "V"), ("sample_rate", "Hz"), ("relaxation_time", "s"))
        if options[name] is not None
    }
    try:
        advice = advise_nudge(bench_file, settings, options["error"], most_samples=options["most_samples"], **given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if options["as_json"]:
        click.echo(json.dumps(_as_dict(advice)))
    else:
        _show(advice)
    if not options["no_plot"]:
        from freqprop_lab.report import MissingExtraError, draw_advice  # noqa: PLC0415

        try:
            click.echo(f"wrote {draw_advice(advice, out)}", err=options["as_json"])
        except MissingExtraError as error:
            click.echo(f"no plot: {error}", err=True)


def _show(advice: Advice) -> None:
    meter, best = advice.meter, advice.best
    click.echo(
        f"noise {meter.noise:.3g} V a sample, {meter.sample_rate:g} samples a second, "
        + (f"relaxation {meter.relaxation_time:.3g} s, " if meter.relaxation_time else "quasi-static, ")
        + ("synchronised" if meter.synchronised else "not synchronised")
    )
    click.echo(f"wished: the gradient to {advice.error:.3g} in one step of two records\n")
    click.echo(
        f"{'waveform':18}{'gamma':>9}{'frequency':>12}{'samples':>9}{'noise':>8}{'bias':>8}{'slow':>8}{'error':>8}{'sign':>7}{'step':>10}"
    )
    for choice in advice.choices:
        sign = "-" if meter.synchronised else f"{choice.margin:.3g}"
        short = "" if choice.reached else "  not reached"
        click.echo(
            f"{choice.waveform:18}{choice.gamma:>9.3g}{choice.frequency:>9.4g} Hz"
            f"{choice.samples_per_period * choice.periods:>9}{choice.noise:>8.3f}{choice.bias:>8.3f}"
            f"{choice.relaxation:>8.3f}{choice.error:>8.3f}{sign:>7}{choice.seconds:>8.3g} s{short}"
        )
    _show_trade(advice)
    if not best.reached:
        click.echo("\nno record of that length is good enough: allow more samples, a larger error, or lower the noise")
    click.echo("\nin the bench file, and in the experiment file:")
    click.echo(
        f"  sampling: {{frequency: {best.frequency:.6g} Hz, samples_per_period: {best.samples_per_period}, "
        f"periods: {best.periods}, settle: {5 * meter.relaxation_time:.3g} s}}"
    )
    click.echo(f"  nudge: {{waveform: {best.waveform}, gamma: {best.gamma:.3g}}}")


def _show_trade(advice: Advice) -> None:
    """Show noise against bias by the size of the nudge, for the first choice."""
    best = advice.best
    trade = advice.trades[best.waveform]
    n_samples = best.samples_per_period * best.periods
    click.echo(f"\n{best.waveform}, {n_samples} samples:\n{'gamma':>12}{'noise':>9}{'bias':>9}")
    step = max(1, (len(trade.gammas) - 1) // (_GAMMAS_SHOWN - 1))
    for gamma, noise, bias in list(zip(trade.gammas, trade.noise, trade.bias, strict=True))[::-step][::-1]:
        click.echo(f"{gamma:>12.3g}{noise / n_samples**0.5:>9.3g}{bias:>9.2g}")


def _as_dict(advice: Advice) -> dict[str, Any]:
    return {
        "noise": advice.meter.noise,
        "sample_rate": advice.meter.sample_rate,
        "relaxation_time": advice.meter.relaxation_time,
        "synchronised": advice.meter.synchronised,
        "error": advice.error,
        "choices": [_choice_as_dict(choice) for choice in advice.choices],
    }


def _choice_as_dict(choice: Choice) -> dict[str, Any]:
    fields = {**vars(choice), "error": choice.error}
    return {name: None if value == float("inf") else value for name, value in fields.items()}
