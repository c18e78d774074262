"""Names in records that more than one module goes by: one writes them, another looks for them."""

RECORDS_FOLDER = "calibrations"  # where records are, unless told otherwise

# Quantities
SOURCE_GAIN, METER_GAIN = "source gain", "meter gain"  # 1, by source or meter channel
SOURCE_OFFSET, SOURCE_OFFSET_CURRENT, METER_OFFSET = "source offset", "source offset current", "meter offset"  # V, A, V
SERIES = "source resistance"  # Ohm, by source channel
CONDUCTANCE = "conductance"  # S, by branch
TABLE = "conductance by nominal"  # S, by element and nominal value
SKEW = "skew"  # s, by meter channel
PICKUP, QUADRATURE = "pickup", "pickup in quadrature"  # V, by meter channel
CAPACITANCE = "capacitance"  # F, by node
RELAXATION_TIME = "relaxation time"  # s, by node

# Raw arrays
LEVELS = "levels"  # asked, V or A, (record, lead)
VOLTS, NOISE = "volts", "noise"  # read and its standard error, V, (record, node)
PROGRAMMED = "programmed"  # S, (record, tunable)
RESIDUALS = "residuals"  # in standard deviations, (record, node)
PRODUCT, DIFFERENCE = "product", "difference"  # V^2/S, (element,): a b / gamma, and dC/dG

# Settings
OPTIONS = "options"  # what the procedure was asked for
SAMPLING = "sampling"  # of the bench, as its file has it
FREQUENCY = "frequency"  # Hz, of the nudge
CHANNELS = "channels"  # where each of them was wired: sources in the order of the leads, meters, elements

# Outcome
BOUNDS = "bounds"  # quantities whose values are bounds, for 95 %: AT_LEAST or AT_MOST, by name
AT_LEAST, AT_MOST = "at least", "at most"
