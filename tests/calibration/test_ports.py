"""From ports to leads: held against the wiring that the bench itself drives by."""

from dataclasses import replace

import numpy as np
import pytest
from gradient_bench import RESISTOR, opened
from pytest import approx

from calibration.errors import SubjectError
from calibration.ports import from_inputs, from_outputs, leads_of_output, meters_of_output, task_levels
from calibration.subject import subject_of

KINDS = [
    (RESISTOR, RESISTOR),
    ("{source: voltage}", RESISTOR),
    ("{source: current}", RESISTOR),
    (RESISTOR, "{source: current}"),
]


@pytest.mark.parametrize(("inputs", "nudge"), KINDS)
def test_leads_are_driven_as_the_bench_drives_its_ports(inputs: str, nudge: str):
    with opened(1, inputs=inputs, nudge=nudge) as bench:
        subject, wiring = subject_of(bench), bench._sources[0]
        assert from_inputs(subject) == approx(wiring.from_inputs)
        assert from_outputs(subject) == approx(wiring.from_outputs)


def test_the_levels_of_a_task_start_at_rest_and_stay_within_the_volts_asked():
    with opened(1, "common_mode: 2.5 V") as bench:
        subject = subject_of(bench)
        levels = task_levels(subject, 1.0, 5)
        assert levels[0] == approx(subject.resting, nan_ok=True)
        away = np.abs(levels[1:] - subject.resting)[:, subject.live]
        assert away.max() <= 0.5  # an input of 1 V is +0.5 V and -0.5 V about the common mode
        assert away.max() > 0.2
        assert np.isnan(levels[:, ~subject.live]).all()


def test_levels_stay_within_what_a_source_can_give():
    with opened(1, "source: {limit: 0.3 V}") as bench:
        levels = task_levels(subject_of(bench), 1.0, 5)
        assert np.nanmax(np.abs(levels)) <= 0.3


def test_the_channels_of_an_output_are_named():
    with opened(1) as bench:
        subject = subject_of(bench)
        port = subject.network.outputs[1]
        assert [subject.leads[int(name.split("/")[1])].plus for name in leads_of_output(subject, 1)] == [
            subject.network.index[port.plus],
            subject.network.index[port.minus],
        ]
        assert meters_of_output(subject, 1) == [subject.meter_channels[port.plus], subject.meter_channels[port.minus]]


def test_an_output_that_is_held_stiffly_says_so():
    with opened(1) as bench:
        subject = subject_of(bench)
        stiff = replace(subject, leads=tuple(replace(lead, resistance=0.0) for lead in subject.leads))
        with pytest.raises(SubjectError, match="holds node .* stiffly, so no nudge can enter there. Put a resistor"):
            from_outputs(stiff)


def test_an_output_without_a_source_says_which_node():
    with opened(1) as bench:
        subject = subject_of(bench)
        node = subject.network.outputs[0].plus
        leads = [lead for lead in subject.leads if subject.node_of(lead) != node]
        live = np.ones(len(leads), dtype=bool)
        with pytest.raises(SubjectError, match=f"no source is wired to node {node}; wire one"):
            from_outputs(replace(subject, leads=tuple(leads), live=live))
