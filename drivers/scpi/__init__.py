"""SCPI instruments over PyVISA: a generator, a family of oscilloscopes, and any other one by a file of templates.

PyVISA is imported when an instrument is opened, not before.
"""

from drivers.scpi._generic import SCPI_GENERIC
from drivers.scpi._keysight_33500b import KEYSIGHT_33500B
from drivers.scpi._link import ScpiLink
from drivers.scpi._rigol_scope import RIGOL_SCOPE

__all__ = ["KEYSIGHT_33500B", "RIGOL_SCOPE", "SCPI_GENERIC", "ScpiLink"]
