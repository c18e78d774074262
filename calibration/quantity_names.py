"""Names by which a correction finds in a record what a procedure told there."""

SKEW = "skew"  # s, by meter channel
PICKUP, QUADRATURE = "pickup", "pickup in quadrature"  # V, by meter channel
TABLE = "conductance by nominal"  # S, by element and nominal value
