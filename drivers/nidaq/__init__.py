"""NI-DAQmx cards, in this computer or behind an NI gRPC Device Server: analog outputs and inputs on one clock."""

from drivers.nidaq._kind import NIDAQMX, NidaqmxKind, NidaqmxSection
from drivers.nidaq._meter import NidaqMeter
from drivers.nidaq._session import Session
from drivers.nidaq._source import NidaqSource

__all__ = ["NIDAQMX", "NidaqMeter", "NidaqSource", "NidaqmxKind", "NidaqmxSection", "Session"]
