"""Networks: what no breadboard could be is refused by name, and voltages are taken between the right nodes."""

from __future__ import annotations

import numpy as np
import pytest

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import GROUND, Branch, Network, NetworkError, Port

RESISTOR, DIODE = ELEMENTS["resistor"], ELEMENTS["diode"]
NODES = ("left", "middle", "right")


def resistor(name: str, plus: str, minus: str, siemens: float = 1.0, **more) -> Branch:
    return Branch(name, plus, minus, RESISTOR, (siemens,), **more)


def refusal(branches=(), nodes=NODES, inputs=(), outputs=()) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        Network(tuple(nodes), tuple(branches), tuple(inputs), tuple(outputs))
    return caught.value


def test_two_branches_of_one_name():
    error = refusal([resistor("R1", "left", "middle"), resistor("R1", "middle", "right")])
    assert 'branch name "R1" is used 2 times' in str(error)
    assert error.branch == "R1"


def test_two_nodes_of_one_name():
    error = refusal(nodes=("left", "right", "left"))
    assert 'node name "left" is used 2 times' in str(error)
    assert error.branch is None


def test_ground_is_not_listed():
    assert '"ground" is the reserved node' in str(refusal(nodes=("left", GROUND)))


def test_a_self_loop():
    error = refusal([resistor("R1", "left", "left")])
    assert 'branch "R1" starts and ends at node "left"' in str(error)
    assert error.branch == "R1"


def test_an_unknown_node_gets_the_nearest_name():
    error = refusal([resistor("R7", "left", "midle")])
    assert 'branch "R7": no node "midle". Did you mean "middle"?' in str(error)
    assert error.branch == "R7"


def test_a_node_that_nothing_is_near_gets_no_advice():
    assert str(refusal([resistor("R7", "left", "42")])).endswith('no node "42".')


@pytest.mark.parametrize("value", [0.0, -1e-3, float("nan"), float("inf")])
def test_a_conductance_that_no_part_has(value):
    error = refusal([resistor("R1", "left", "right", value)])
    assert 'branch "R1": conductance is' in str(error)
    assert "must be above 0" in str(error)


def test_a_diode_without_its_emission_voltage():
    error = refusal([Branch("D1", "left", GROUND, DIODE, (1e-9,))])
    assert 'branch "D1": a diode needs saturation_current, emission_voltage' in str(error)


def test_a_diode_can_not_be_tuned():
    error = refusal([Branch("D1", "left", GROUND, DIODE, (1e-9, 0.03), tunable=True)])
    assert 'branch "D1": a diode can\'t be tunable' in str(error)
    assert error.branch == "D1"


def test_a_tunable_conductance_outside_its_bounds():
    error = refusal([resistor("R1", "left", "right", 3.0, tunable=True, lowest=1.0, highest=2.0)])
    assert 'branch "R1": 3 S lies outside its bounds, 1 S to 2 S' in str(error)


@pytest.mark.parametrize(("lowest", "highest"), [(2.0, 1.0), (1.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0)])
def test_bounds_that_hold_no_interval(lowest, highest):
    error = refusal([resistor("R1", "left", "right", tunable=True, lowest=lowest, highest=highest)])
    assert 'branch "R1": bounds' in str(error)
    assert "at least 0, and the first the lower" in str(error)


def test_a_conductance_may_stand_at_either_bound():
    for value in (1.0, 2.0):
        Network(NODES, (resistor("R1", "left", "right", value, tunable=True, lowest=1.0, highest=2.0),))


def test_parallel_branches_are_allowed_when_each_has_its_name():
    network = Network(NODES, (resistor("R1", "left", "right"), resistor("R2", "right", "left")))
    assert network.plus.tolist() == [0, 2]
    assert network.minus.tolist() == [2, 0]


def test_a_part_that_nothing_holds_lists_its_nodes_and_branches():
    branches = [resistor("R1", "left", "middle"), resistor("R2", "right", "far"), resistor("R3", "far", "right")]
    error = refusal(branches, nodes=(*NODES, "far"), inputs=[Port("left")])
    assert "node right, far (branches R2, R3): no path to ground or to a driven node" in str(error)
    assert error.branch == "R2"


def test_a_lone_node_is_a_part_that_nothing_holds():
    error = refusal([resistor("R1", "left", "middle")], inputs=[Port("left")])
    assert "node right: no path" in str(error)


def test_a_part_on_ground_or_at_an_input_is_held():
    branches = (resistor("R1", "left", GROUND), resistor("R2", "middle", "right"))
    assert len(Network(NODES, branches, (Port("middle", "right"),)).branches) == 2


def test_a_node_driven_by_two_inputs():
    inputs = [Port("left", "middle"), Port("right", "middle")]
    error = refusal([resistor("R1", "left", "right")], inputs=inputs)
    assert str(error) == 'node "middle" is driven by 2 input ports; a node takes one'


def test_many_inputs_may_return_to_ground():
    branches = (resistor("R1", "left", "middle"), resistor("R2", "right", "middle"))
    assert len(Network(NODES, branches, (Port("left"), Port("right"))).inputs) == 2


@pytest.mark.parametrize("kind", ["input", "output"])
def test_ports_are_refused_by_kind_and_name(kind):
    def message(port: Port) -> str:
        return str(refusal([resistor("R1", "left", "right")], **{f"{kind}s": [port]}))

    assert f'{kind} port "ground/left": ground can only be the second node' in message(Port(GROUND, "left"))
    assert f'{kind} port "left/left" has the same node at both ends' in message(Port("left", "left"))
    assert f'{kind} port "rigth": no node "rigth". Did you mean "right"?' in message(Port("rigth"))


def test_differences_are_taken_from_plus_to_minus_and_to_ground():
    branches = (
        resistor("R1", "left", "middle", tunable=True),
        Branch("D1", "right", GROUND, DIODE, (1e-9, 0.03)),
        resistor("R2", GROUND, "right", tunable=True),
    )
    outputs = (Port("right", "left"), Port("middle"))
    network = Network(NODES, branches, (Port("left"), Port("middle")), outputs)
    volts = np.array([[1.0, 3.0, 10.0], [0.0, 0.0, -2.0]])
    assert network.read_outputs(volts).tolist() == [[9.0, 3.0], [-2.0, 0.0]]
    assert network.across_tunable(volts).tolist() == [[-2.0, -10.0], [0.0, 2.0]]
    assert network.read_outputs(volts[0]).tolist() == [9.0, 3.0]
    assert network.tunable_names == ("R1", "R2")
    assert not network.is_linear


def test_bounds_left_open_are_zero_and_infinity():
    branches = (
        resistor("R1", "left", "middle", 2.0, tunable=True),
        resistor("R2", "left", "right"),
        resistor("R3", "middle", "right", 0.5, tunable=True, lowest=0.1, highest=5.0),
    )
    network = Network(NODES, branches)
    assert [bound.tolist() for bound in network.own_bounds] == [[0.0, 0.1], [np.inf, 5.0]]
    assert network.own_conductances.tolist() == [2.0, 0.5]


def test_a_network_with_nothing_to_tune_says_so_when_asked():
    network = Network(NODES, (resistor("R1", "left", "middle"),))
    with pytest.raises(NetworkError, match="tunable branches must all be of one kind"):
        _ = network.tunable_element
