"""How ports become channels: chains of a few resistors, whose voltages are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from freqprop_lab.config import FileError
from freqprop_lab.elements import CAPACITOR, ELEMENTS
from freqprop_lab.instruments import LimitError
from freqprop_lab.network import Branch, Network, NetworkError, Port
from freqprop_lab.values import Drive, Nudge, NudgeKind
from freqprop_lab.waveform import Sine
from simulated_bench.numeric import NumericBench
from simulated_bench.settings import NumericBenchFile

# A grid of one row is a chain of branches of 1 S each.
CHAIN = "network: {{kind: grid, rows: 1, columns: {n}, inputs: {inputs}, outputs: {outputs}}}\n"
PAIR = CHAIN.format(n=3, inputs="[[r0c0, r0c2]]", outputs="[[r0c1]]")
DIVIDER = CHAIN.format(n=2, inputs="[[r0c0]]", outputs="[[r0c1]]")
FOUR = CHAIN.format(n=4, inputs="[[r0c0, r0c3]]", outputs="[[r0c1, r0c2]]")


def rest(bench, *levels):
    return bench.respond(Drive(np.array(levels))).a


def nudged(bench, levels, amplitudes, kind=NudgeKind.CURRENT, held=None):
    return bench.respond(Drive(np.array(levels), Nudge(np.array(amplitudes), Sine(), kind, held)))


def test_a_referred_pair_is_driven_half_up_and_half_down(bench_of):
    assert rest(bench_of(PAIR), 2.0) == pytest.approx([1.0, 0.0, -1.0])


def test_a_referred_pair_is_driven_about_the_common_mode(bench_of):
    assert rest(bench_of(PAIR + "common_mode: 0.3 V\n"), 2.0) == pytest.approx([1.3, 0.3, -0.7])


def test_a_single_ended_port_gets_the_whole_level_on_one_channel(bench_of):
    # 1 S, then the nudge's 1 Ohm to ground: half of the voltage
    bench = bench_of(DIVIDER + "nudge: {source: resistor, resistance: 1 Ohm}\n")
    assert rest(bench, 2.0) == pytest.approx([2.0, 1.0])


def test_a_floating_pair_has_its_voltage_between_the_nodes_and_no_ground(bench_of):
    volts = rest(bench_of(FOUR + "ports: floating\n"), 3.0)
    # Three equal branches share 3 V, so no current leaves through the node that the solver ties to ground.
    assert volts - volts[3] == pytest.approx([3.0, 2.0, 1.0, 0.0])


def test_a_floating_network_with_a_single_ended_output_has_no_way_back_for_its_nudge(bench_of):
    with pytest.raises(FileError, match="make every port a pair and use ports: floating"):
        bench_of(PAIR + "ports: floating\n")


def test_floating_and_referred_pairs_give_the_same_voltages_between_nodes(bench_of):
    text = (
        "network: {kind: grid, rows: 2, columns: 3, "
        "inputs: [[r0c0, r1c2], [r0c2, r1c0]], outputs: [[r0c1, r1c1]]}\nports: %s\n"
    )
    referred, floating = (nudged(bench_of(text % ports), [1.0, -0.4], [0.2]) for ports in ("referred", "floating"))
    # By symmetry about the middle: the mean of each pair's ends is the common mode in both.
    for one, other in ((referred.a, floating.a), (referred.b, floating.b)):
        assert np.ptp(other - one) == pytest.approx(0.0, abs=1e-12)


def test_an_input_through_a_resistor_is_a_divider(bench_of):
    bench = bench_of(
        DIVIDER + "inputs: {source: resistor, resistance: 1 Ohm}\nnudge: {source: resistor, resistance: 1 Ohm}\n"
    )
    # 3 V over 1 Ohm, 1 Ohm of the chain, 1 Ohm to ground: 1 A
    assert rest(bench, 3.0) == pytest.approx([2.0, 1.0])


def test_an_input_through_a_resistor_is_its_norton_equivalent(bench_of, tmp_path):
    table = "plus,minus,kind,value\na,b,tunable,2 S\nb,ground,resistor,4 Ohm\n"
    (tmp_path / "plain.csv").write_text(table)
    (tmp_path / "norton.csv").write_text(table + "a,ground,resistor,0.5 Ohm\n")
    network = "network: {{kind: csv, file: {file}, inputs: [[a]], outputs: [[b]]}}\ninputs: {source}\n"
    thevenin = bench_of(network.format(file=tmp_path / "plain.csv", source="{source: resistor, resistance: 0.5 Ohm}"))
    norton = bench_of(network.format(file=tmp_path / "norton.csv", source="{source: current}"))
    # 2.5 V behind 0.5 Ohm are 5 A beside 2 S. In series 0.5 + 0.5 + 4 Ohm: 0.5 A, so a at 2.25 V and b at 2 V.
    assert rest(thevenin, 2.5) == pytest.approx([2.25, 2.0])
    assert rest(norton, 5.0) == pytest.approx([2.25, 2.0])


def test_a_nudge_through_a_resistor_is_its_current_beside_its_conductance(bench_of):
    bench = bench_of(DIVIDER + "nudge: {source: resistor, resistance: 0.5 Ohm}\n")
    response = nudged(bench, [0.0], [0.3])
    # 0.3 A into 1 S (to the stiff input) and 2 S (through the resistor)
    assert response.b == pytest.approx([0.0, 0.1])


def test_the_network_is_the_same_in_the_free_and_in_the_nudged_record(bench_of):
    bench = bench_of(DIVIDER + "nudge: {source: resistor, resistance: 0.5 Ohm}\n")
    # 1 S and 2 S divide 3 V: 1 V at the output, whether or not it is nudged
    assert rest(bench, 3.0) == pytest.approx([3.0, 1.0])
    assert nudged(bench, [3.0], [0.3]).a == pytest.approx([3.0, 1.0])


def test_a_nudge_enters_at_the_plus_end_of_a_pair_and_leaves_at_the_minus_end(bench_of):
    # Nodes 0 and 3 held: 1 S from each output to them, 1 S between. v1 = -v2 = v: v + 2 v = 0.3.
    for source in ("current", "current}\nports: floating\nscales: {"):
        response = nudged(bench_of(FOUR + f"nudge: {{source: {source}}}\n"), [0.0], [0.3])
        assert response.b - response.b[0] == pytest.approx([0.0, 0.1, -0.1, 0.0], abs=1e-12)


def test_both_legs_of_an_output_pair_get_a_resistor(bench_of):
    bench = bench_of(FOUR + "nudge: {source: resistor, resistance: 0.5 Ohm}\n")
    # As above with 2 S to ground at each output: v + 2 v + 2 v = 0.3
    assert nudged(bench, [0.0], [0.3]).b == pytest.approx([0.0, 0.06, -0.06, 0.0], abs=1e-12)
    # 1.5 V at node 0: v + 2 v + 2 v = 1.5
    assert rest(bench, 3.0) == pytest.approx([1.5, 0.3, -0.3, -1.5])


def test_a_resistor_for_the_nudge_rests_at_the_common_mode(bench_of):
    bench = bench_of(FOUR + "nudge: {source: resistor, resistance: 0.5 Ohm}\ncommon_mode: 2 V\n")
    assert rest(bench, 3.0) == pytest.approx([3.5, 2.3, 1.7, 0.5])
    assert rest(bench, 0.0) == pytest.approx([2.0, 2.0, 2.0, 2.0])


def test_a_current_goes_in_at_one_leg_and_out_at_the_other(bench_of, tmp_path):
    (tmp_path / "bridge.csv").write_text(
        "plus,minus,kind,value\na,b,tunable,2 S\na,ground,resistor,1 Ohm\nb,ground,resistor,1 Ohm\n"
    )
    network = f"network: {{kind: csv, file: {tmp_path / 'bridge.csv'}, inputs: [[a, b]], outputs: [[b]]}}\n"
    bench = bench_of(network + "inputs: {source: current}\nscales: {voltage: 0.5 V, conductance: 0.1 S}\n")
    # v at a, -v at b: v + 2 * 2 v = 1 A
    assert rest(bench, 1.0) == pytest.approx([0.2, -0.2])
    assert bench.level_scale == pytest.approx(0.05)  # A: s_G s_V


def test_floating_currents_need_no_ground(bench_of):
    volts = rest(bench_of(FOUR + "ports: floating\ninputs: {source: current}\n"), 0.5)
    assert volts - volts[3] == pytest.approx([1.5, 1.0, 0.5, 0.0])


def test_referred_currents_into_a_network_without_ground_are_refused(bench_of):
    with pytest.raises(FileError, match="no branch and no voltage ties the network to ground, so its voltages"):
        bench_of(FOUR + "inputs: {source: current}\n")


def test_a_clamp_moves_each_leg_of_a_pair_by_half_and_leaves_driven_nodes(bench_of):
    bench = bench_of(FOUR)
    free = rest(bench, 3.0)
    response = nudged(bench, [3.0], [0.4], NudgeKind.CLAMPED, held=free)
    assert response.a == pytest.approx([1.5, 0.5, -0.5, -1.5])
    assert response.b == pytest.approx([0.0, 0.2, -0.2, 0.0], abs=1e-12)
    assert rest(bench, 3.0) == pytest.approx(free)  # released again


def test_a_clamp_holds_a_single_ended_output_at_the_whole_amplitude(bench_of):
    response = nudged(bench_of(PAIR), [2.0], [0.4], NudgeKind.CLAMPED, held=np.array([9.0, 0.7, 9.0]))
    assert response.a == pytest.approx([1.0, 0.7, -1.0])
    assert response.b == pytest.approx([0.0, 0.4, 0.0], abs=1e-12)


def test_clamps_alone_tie_a_floating_network(bench_of):
    bench = bench_of(FOUR + "ports: floating\n")
    bench.program(np.array([1.0, 1.0, 3.0]))
    response = nudged(bench, [0.0], [0.4], NudgeKind.CLAMPED, held=np.zeros(4))
    # Outputs at 0.2 and -0.2. The floating source at 0 V makes nodes 0 and 3 one, at w, where no current may be left:
    # 1 (w - 0.2) + 3 (w + 0.2) = 0
    assert response.b == pytest.approx([-0.1, 0.2, -0.2, -0.1])


def test_what_leaves_the_sources_range_is_refused_by_the_channel_that_leaves_it(bench_of):
    bench = bench_of(FOUR + "source: {limit: 1 V, current_limit: 0.1 A}\n")
    assert bench.respond(Drive(np.array([2.0]))).a[0] == pytest.approx(1.0)
    with pytest.raises(LimitError, match=r"channel 0: 1\.05 V asked"):
        rest(bench, 2.1)
    with pytest.raises(LimitError, match=r"channel 2: -?0\.11 A asked"):
        nudged(bench, [0.0], [0.11])


def test_a_branch_that_the_bench_would_leave_out_is_refused_by_its_name():
    branches = (Branch("R1", "a", "b", ELEMENTS["resistor"], (1.0,)), Branch("C1", "b", "ground", CAPACITOR, (1e-6,)))
    network = Network(("a", "b"), branches, (Port("a", "ground"),), (Port("b", "ground"),))
    with pytest.raises(NetworkError, match=r'branch "C1": the numeric bench has no capacitor .* parts.capacitance'):
        NumericBench(NumericBenchFile(), network, np.random.default_rng(0))
