"""What the package `nidaqmx` calls where NI's driver is in this computer: its C library, around the virtual card.

The package's own interpreter for local cards runs on this; it declares what each function takes, and here as there an
argument that ctypes would not pass (an array that is not contiguous, or of another type) is an error. Of NI's driver
this says nothing: what answers is the model that the gRPC server has, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from simulated_bench.servers._nidaqmx_rack import Task, TaskError
from simulated_bench.servers.nidaqmx import _ACTIONS, Call, NidaqmxServer


class CFunction:
    """A function as ctypes has it: `argtypes` are set by the caller, and hold for all that follow."""

    def __init__(self, name: str, body: Callable[..., int], library: DaqmxLibrary) -> None:
        self.name, self.argtypes = name, None
        self._body, self._library = body, library

    def __call__(self, *arguments: Any) -> int:
        for declared, argument in zip(self.argtypes or (), arguments, strict=False):
            declared.from_param(argument)
        try:
            return self._body(*arguments) or 0
        except TaskError as error:
            self._library.words = error.message
            return error.code


class DaqmxLibrary:
    """The functions `DAQmx...` of one virtual card. A name that is not here is a function that the driver lacks."""

    def __init__(self, server: NidaqmxServer) -> None:
        self.server, self.words = server, ""
        self._handles: dict[int, str] = {}
        rack = server.rack
        on_task = {"StartTask": rack.start, "StopTask": rack.stop, "ClearTask": rack.clear}
        bodies: dict[str, Callable[..., Any]] = {
            name: lambda handle, act=act, name=name: act(self._called(name, handle)) for name, act in on_task.items()
        }
        for owner in ("SystemInfo", "Device", "Task", "Timing", "Chan", "Read", "Write", "Buffer", "Trig"):
            bodies[f"Get{owner}Attribute"] = lambda *given, owner=owner: self._get(owner, *given)
            bodies[f"Set{owner}Attribute"] = lambda *given, owner=owner: self._set(owner, *given)
        bodies |= {
            "CreateTask": self._create,
            "CreateAOVoltageChan": lambda h, channels, _, low, high, *__: self._add(h, "ao", channels, low, high),
            "CreateAIVoltageChan": lambda h, channels, _, __, low, high, *___: self._add(h, "ai", channels, low, high),
            "CfgSampClkTiming": self._clock,
            "CfgDigEdgeStartTrig": self._trigger,
            "WriteAnalogF64": self._write,
            "ReadAnalogF64": self._read,
            "TaskControl": self._control,
            "IsTaskDone": self._is_done,
            "ResetDevice": rack.reset,
            "GetExtendedErrorInfo": self._tell,
            "GetErrorString": lambda _, buffer, size: self._tell(buffer, size),
        }
        for name, body in bodies.items():
            setattr(self, f"DAQmx{name}", CFunction(name, body, self))

    def _task(self, handle: Any) -> Task:
        return self.server.rack.task(self._handles.get(handle.value, "none"))

    def _called(self, name: str, handle: Any) -> Task:
        task = self._task(handle)
        self.server.calls.append(Call(name, task.kind))
        return task

    def _create(self, name: str, handle: Any) -> None:
        task = self.server.rack.create(name)
        handle._obj.value = len(self._handles) + 1
        self._handles[handle._obj.value] = task.name

    def _add(self, handle: Any, kind: Any, channels: str, lowest: float, highest: float) -> None:
        self.server.rack.add_channels(self._task(handle), kind, channels, lowest, highest)

    def _clock(self, handle: Any, source: str, rate: float, edge: int, mode: int, n_samples: int) -> None:
        self.server.rack.clock(self._task(handle), rate, n_samples, source.replace("OnboardClock", ""))

    def _trigger(self, handle: Any, terminal: str, edge: int) -> None:
        self._task(handle).trigger = terminal

    def _write(
        self, handle: Any, n_samples: int, start: bool, timeout: float, layout: int, volts: Any, written: Any, _: None
    ) -> None:
        task = self._called("WriteAnalogF64", handle)
        self.server.rack.write(task, np.array(volts, dtype=np.float64).reshape(-1, n_samples), auto_start=start)
        written._obj.value = n_samples

    def _read(
        self, handle: Any, n_samples: int, timeout: float, fill: int, into: Any, size: int, n_read: Any, _: None
    ) -> None:
        assert size == into.size
        volts = self.server.rack.read(self._called("ReadAnalogF64", handle), n_samples, timeout)
        into[:] = volts.reshape(into.shape)
        n_read._obj.value = volts.shape[1]

    def _control(self, handle: Any, action: int) -> None:
        rack, name = self.server.rack, _ACTIONS[action]
        act = {"start": rack.start, "unreserve": rack.unreserve, "stop": rack.stop, "abort": rack.stop}
        act.get(name, rack.commit)(self._called("TaskControl", handle))

    def _is_done(self, handle: Any, done: Any) -> None:
        done._obj.value = self.server.rack.is_done(self._called("IsTaskDone", handle))

    def _tell(self, buffer: Any, size: int) -> None:
        buffer.value = self.words.encode()[: size - 1]

    def _request(self, owner: str, given: tuple[Any, ...]) -> tuple[int, Any, tuple[Any, ...]]:
        """Return the attribute's number, what it is asked of, and the arguments behind them."""
        if owner == "SystemInfo":
            return given[0], SimpleNamespace(), given[1:]
        if owner == "Device":
            return given[1], SimpleNamespace(device_name=given[0]), given[2:]
        of_task = SimpleNamespace(task=SimpleNamespace(name=self._task(given[0]).name))
        place = 2 if owner == "Chan" else 1  # a channel's name stands before the number
        return given[place], of_task, given[place + 1 :]

    def _get(self, owner: str, *given: Any) -> int:
        number, request, (out, *size) = self._request(owner, given)
        try:
            value = self.server._attributes.get(owner, number, request)
        except KeyError:
            self.server.unknown_attributes.append(f"Get {owner} {number:#06x}")
            return -200197
        if not size:
            out._obj.value = value
            return 0
        length = len(value) + 1 if isinstance(value, str) else len(value)
        if size[0] == 0:
            return length  # how large the buffer must be
        if isinstance(value, str):
            out.value = value.encode()
        else:
            ctypes.memmove(out, (ctypes.c_double * length)(*value), 8 * length)
        return 0

    def _set(self, owner: str, *given: Any) -> int:
        number, request, (value,) = self._request(owner, given)
        request.value = value.value
        try:
            self.server._attributes.put(owner, number, request)
        except KeyError:
            self.server.unknown_attributes.append(f"Set {owner} {number:#06x}")
            return -200197
        return 0
