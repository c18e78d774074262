"""Networks: nodes, branches and ports, and the generators that draw them."""

from freqprop_lab.network._generators import (
    barabasi_albert,
    choose_ports,
    draw_missing_ports,
    hidden_layer,
    square_grid,
)
from freqprop_lab.network._network import GROUND, Branch, Network, NetworkError, Port

__all__ = [
    "GROUND",
    "Branch",
    "Network",
    "NetworkError",
    "Port",
    "barabasi_albert",
    "choose_ports",
    "draw_missing_ports",
    "hidden_layer",
    "square_grid",
]
