"""A virtual NI gRPC Device Server: the world behind the wire protocol that the real `nidaqmx` package speaks.

The messages and the service's skeleton are those that ship with `nidaqmx`; what is not answered here is answered with
UNIMPLEMENTED. Errors have the server's wire form: status UNKNOWN, the code in the trailing metadata `ni-error`; only
a read that runs out of time (-200284) is an answer with a status and the samples that there are.

Time is the world's: a read lets as much of it pass as the samples need, and waits for nothing.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from freqprop_lab.values import Array
from simulated_bench.servers._nidaqmx_rack import INPUT_RATE, OUTPUT_RATE, SERIAL, CardSettings, Rack, Task, TaskError
from simulated_bench.servers._virtual import LOOPBACK, Fault, FaultKind, Faults, VirtualInstrument, Wires
from simulated_bench.world import World

# Neither package has type information.
grpc: Any = importlib.import_module("grpc")
messages: Any = importlib.import_module("nidaqmx._stubs.nidaqmx_pb2")
service: Any = importlib.import_module("nidaqmx._stubs.nidaqmx_pb2_grpc")

_WORKERS = 16
_NAP = 0.01  # s between two looks whether a call that is not answered was given up
_NOT_DONE = -200284
_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_ACTIONS = {0: "start", 1: "stop", 2: "verify", 3: "commit", 4: "reserve", 5: "unreserve", 6: "abort"}
_VERSION = {0x1272: 24, 0x1923: 5, 0x2F22: 0}


@dataclass(frozen=True)
class Call:
    """One call as it came in: `StartTask` and the kind of the task, `ao` or `ai`, empty where it has none."""

    rpc: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.rpc} {self.kind}".strip()


class NidaqmxServer(VirtualInstrument):
    """One or more virtual cards. calls: what came in, in order. unknown_attributes: what was asked and is not known.

    wires: drives `ao0` -> terminal, reads `ai0` -> node; `Dev2.ai0` on a second card. Inputs that are not wired read
    0 V, outputs go nowhere. also: names of further cards. A fault with a `channel` that is the name of a call
    (`StartTask`) happens at that call; without, at the next.
    """

    def __init__(
        self,
        name: str,
        world: World,
        wires: Wires,
        *,
        device: str = "Dev1",
        n_ao: int = 16,
        n_ai: int = 32,
        range: float = 10.0,  # noqa: A002 - the word of the bench file
        ao_bits: int | None = None,
        ai_bits: int | None = None,
        multiplexed: bool = False,
        port: int = 0,
        noise: float = 0.0,
        also: tuple[str, ...] = (),
    ) -> None:
        self.name, self.world, self.wires, self.faults = name, world, wires, Faults()
        self.calls: list[Call] = []
        self.resources: list[str] = []
        self.unknown_attributes: list[str] = []
        cards = CardSettings((device, *also), n_ao, n_ai, range, ao_bits, ai_bits, multiplexed, noise)
        self.rack = Rack(name, world, wires, cards, self.faults)
        self._attributes = _Attributes(self.rack)
        self._port = port
        self._server: Any = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    @property
    def open_tasks(self) -> list[str]:
        """The tasks that were created and not cleared; none may be left when a client has gone."""
        return list(self.rack.tasks)

    def start(self) -> list[str]:
        """Listen on the loopback interface."""
        skeleton = service.NiDAQmxServicer()
        for rpc, answer in self._answers().items():
            setattr(skeleton, rpc, self._answering(rpc, answer))
        self._stopping.clear()
        self._server = grpc.server(
            ThreadPoolExecutor(_WORKERS, self.name), options=(*_UNLIMITED, ("grpc.so_reuseport", 0))
        )
        service.add_NiDAQmxServicer_to_server(skeleton, self._server)
        bound = self._server.add_insecure_port(f"{LOOPBACK}:{self._port}")
        self._server.start()
        self.resources = [f"grpc://{LOOPBACK}:{bound}/{device}" for device in self.rack.cards.devices]
        return list(self.resources)

    def stop(self) -> None:
        """End every call, stop listening and forget the tasks; what is on the outputs stays, as on a card."""
        self._stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.stop(grace=None).wait(timeout=5.0)
        with self._lock:
            for task in list(self.rack.tasks.values()):
                self.rack.clear(task)

    def _answering(self, rpc: str, answer: Callable[[Any], dict[str, Any]]) -> Callable[[Any, Any], Any]:
        response = getattr(messages, f"{rpc}Response")

        def call(request: Any, context: Any) -> Any:
            faults = self.faults
            with self._lock:
                try:
                    self.calls.append(Call(rpc, self._kind(request)))
                    coded = faults.take(FaultKind.ERROR_CODE, channel=rpc)
                    if coded is not None:
                        raise _reported(coded, rpc, self._task_of(request), request)
                    fields = answer(request)
                except TaskError as error:
                    if rpc != "ReadAnalogF64" or error.code != _NOT_DONE:
                        context.set_trailing_metadata((("ni-error", str(error.code)),))
                        context.abort(grpc.StatusCode.UNKNOWN, error.message[:2048])
                    fields = _partial(error, request)
            gone = faults.take(FaultKind.DISCONNECT, channel=rpc)
            if gone:
                threading.Thread(target=self.stop, name=f"{self.name} disconnects").start()
            if gone or faults.take(FaultKind.DROP_REPLY, channel=rpc):
                self._wait(context, np.inf)
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            late = faults.take(FaultKind.LATE_REPLY, channel=rpc)
            if late is not None:
                self._wait(context, late.seconds)
            if "read_array" in fields and faults.take(FaultKind.HALF_REPLY, channel=rpc):
                fields["read_array"] = fields["read_array"][: len(fields["read_array"]) // 2]
            return response(**fields)

        return call

    def _wait(self, context: Any, seconds: float) -> None:
        """Hold an answer back, until the client gives up or the server stops."""
        waited = 0.0
        while waited < seconds and context.is_active() and not self._stopping.wait(_NAP):
            waited += _NAP

    def _task_of(self, request: Any) -> Task | None:
        name = request.task.name if hasattr(request, "task") else ""
        return self.rack.tasks.get(name)

    def _kind(self, request: Any) -> str:
        task = self._task_of(request)
        return "" if task is None else task.kind

    def _answers(self) -> dict[str, Callable[[Any], dict[str, Any]]]:
        """Return who answers what; each gets the request and returns the fields of the response."""
        rack = self.rack

        def on_task(act: Callable[[Task], Any]) -> Callable[[Any], dict[str, Any]]:
            def answer(request: Any) -> dict[str, Any]:
                act(rack.task(request.task.name))
                return {}

            return answer

        attributes: dict[str, Callable[[Any], dict[str, Any]]] = {
            f"{verb}{owner}Attribute{kind}": self._attribute(verb, owner, "value_raw" if kind == "Int32" else "value")
            for verb, owner, kinds in (
                ("Get", "SystemInfo", ("UInt32", "String")),
                ("Get", "Device", ("String", "UInt32", "Bool", "Double", "DoubleArray", "Int32", "Int32Array")),
                ("Get", "Task", ("String", "UInt32", "Bool")),
                ("Get", "Timing", ("Double", "Int32", "UInt64", "String", "UInt32", "Bool")),
                ("Set", "Timing", ("Double", "Int32", "UInt64", "String", "UInt32", "Bool")),
                ("Get", "Chan", ("Double", "Int32", "String", "UInt32", "Bool")),
                ("Get", "Read", ("UInt32", "UInt64", "Int32", "Bool", "String")),
                ("Get", "Write", ("UInt32", "UInt64", "Int32")),
                ("Set", "Write", ("Int32", "UInt32")),
                ("Set", "Buffer", ("UInt32",)),
                ("Get", "Buffer", ("UInt32",)),
                ("Set", "Trig", ("Double", "Int32", "String")),
                ("Get", "Trig", ("Double", "Int32", "String")),
            )
            for kind in kinds
        }
        return attributes | {
            "CreateTask": self._create,
            "CreateAOVoltageChan": lambda request: self._add(request, "ao"),
            "CreateAIVoltageChan": lambda request: self._add(request, "ai"),
            "CfgSampClkTiming": self._clock,
            "CfgDigEdgeStartTrig": self._trigger,
            "WriteAnalogF64": self._write,
            "ReadAnalogF64": self._read,
            "TaskControl": self._control,
            "StartTask": on_task(rack.start),
            "StopTask": on_task(rack.stop),
            "ClearTask": on_task(rack.clear),
            "WaitUntilTaskDone": self._wait_done,
            "IsTaskDone": lambda request: {"is_task_done": rack.is_done(rack.task(request.task.name))},
            "ResetDevice": self._reset,
            "GetErrorString": lambda request: {"error_string": f"Error {request.error_code} occurred."},
        }

    def _attribute(self, verb: str, owner: str, field: str) -> Callable[[Any], dict[str, Any]]:
        def answer(request: Any) -> dict[str, Any]:
            number = request.attribute_raw or request.attribute
            try:
                if verb == "Get":
                    return {field: self._attributes.get(owner, number, request)}
                self._attributes.put(owner, number, request)
            except KeyError:
                self.unknown_attributes.append(f"{verb} {owner} {number:#06x}")
                raise TaskError(-200197, "Specified property is not supported by the device.") from None
            return {}

        return answer

    def _create(self, request: Any) -> dict[str, Any]:
        task = self.rack.create(request.session_name)
        return {"task": {"name": task.name}, "new_session_initialized": True}

    def _add(self, request: Any, kind: Literal["ao", "ai"]) -> dict[str, Any]:
        task = self.rack.task(request.task.name)
        self.rack.add_channels(task, kind, request.physical_channel, request.min_val, request.max_val)
        return {}

    def _clock(self, request: Any) -> dict[str, Any]:
        task = self.rack.task(request.task.name)
        self.rack.clock(task, request.rate, request.samps_per_chan, request.source.replace("OnboardClock", ""))
        return {}

    def _trigger(self, request: Any) -> dict[str, Any]:
        self.rack.task(request.task.name).trigger = request.trigger_source
        return {}

    def _write(self, request: Any) -> dict[str, Any]:
        task = self.rack.task(request.task.name)
        volts = np.array(request.write_array, dtype=np.float64).reshape(-1, request.num_samps_per_chan)
        self.rack.write(task, volts, auto_start=request.auto_start)
        return {"samps_per_chan_written": request.num_samps_per_chan}

    def _read(self, request: Any) -> dict[str, Any]:
        task = self.rack.task(request.task.name)
        volts = self.rack.read(task, request.num_samps_per_chan, request.timeout)
        return {"read_array": volts.ravel(), "samps_per_chan_read": volts.shape[1]}

    def _control(self, request: Any) -> dict[str, Any]:
        task, action = self.rack.task(request.task.name), _ACTIONS[request.action_raw or request.action]
        if action == "start":
            self.rack.start(task)
        elif action == "unreserve":
            self.rack.unreserve(task)
        elif action in ("stop", "abort"):
            self.rack.stop(task)
        else:
            self.rack.commit(task)
        return {}

    def _wait_done(self, request: Any) -> dict[str, Any]:
        self.rack.wait(self.rack.task(request.task.name), request.time_to_wait)
        return {}

    def _reset(self, request: Any) -> dict[str, Any]:
        self.rack.reset(request.device_name)
        return {}


class _Attributes:
    """What a client may ask by number: those of the data sheet, and those of a task. Raises KeyError for others."""

    def __init__(self, rack: Rack) -> None:
        self._rack = rack

    def get(self, owner: str, number: int, request: Any) -> Any:
        """Return the value of an attribute."""
        if owner == "SystemInfo":
            return {**_VERSION, 0x193B: ", ".join(self._rack.cards.devices)}[number]
        if owner == "Device":
            return self._of_device(request.device_name)[number]
        return self._of_task(owner, self._rack.task(request.task.name), number)

    def put(self, owner: str, number: int, request: Any) -> None:
        """Set an attribute; what has no meaning in this model is taken and forgotten."""
        task = self._rack.task(request.task.name)
        if (owner, number) == ("Trig", 0x1856):
            task.delay = request.value
        elif (owner, number) not in (
            ("Trig", 0x18C8),  # the delay's unit: seconds, the only one asked for
            ("Write", 0x1453),  # regeneration: never done
            ("Buffer", 0x186D),
            ("Buffer", 0x186C),
        ):
            raise KeyError(number)

    def _of_device(self, device: str) -> dict[int, Any]:
        rack, cards = self._rack, self._rack.cards
        outputs, inputs = rack.channels(device, "ao"), rack.channels(device, "ai")
        number = cards.devices.index(device)
        return {
            0x631: "virtual card",
            0x632: SERIAL + number,
            0x22CA: False,  # is it one of the driver's own simulated devices
            0x231E: ", ".join(inputs),
            0x231F: ", ".join(outputs),
            0x298C: INPUT_RATE,
            0x298D: INPUT_RATE,
            0x298F: not cards.multiplexed,
            0x2990: [end for each in cards.ranges for end in (-each, each)],
            0x2997: OUTPUT_RATE,
            0x299B: [-cards.range, cards.range],
        }

    def _of_task(self, owner: str, task: Task, number: int) -> Any:
        if (owner, number) == ("Timing", 0x1848):
            return self._rack.convert_rate(task)
        known: dict[str, dict[int, Any]] = {
            "Task": {0x1273: ", ".join(task.channels), 0x1276: task.name, 0x2181: len(task.channels)},
            "Timing": {0x1344: task.rate, 0x1310: task.n_samples},
            "Chan": {
                0x187F: 10102 if task.kind == "ao" else 10100,  # the kind of channel
                0x1815: task.highest,
                0x1816: task.lowest,
                0x1765: float(self._rack.cards.ai_bits or 24),
            },
            "Read": {0x217B: len(task.channels), 0x31E8: task.n_samples},
            "Write": {0x217E: len(task.channels)},
        }
        return known.get(owner, {})[number]


def _reported(fault: Fault, rpc: str, task: Task | None, request: Any) -> TaskError:
    """Return the error that a fault orders; a read keeps half of what was acquired, as a late one does."""
    volts: Array | None = None
    if rpc == "ReadAnalogF64" and task is not None and task.data is not None:
        volts = task.data[:, : request.num_samps_per_chan // 2]
    return TaskError(fault.code, f"Fault ordered by a test.\n\nStatus Code: {fault.code}", volts)


def _partial(error: TaskError, request: Any) -> dict[str, Any]:
    """Return the answer of a read that ran out of time, laid out as if all samples were there."""
    volts = error.volts
    whole = np.zeros(request.array_size_in_samps)
    if volts is None:
        return {"status": error.code, "read_array": whole, "samps_per_chan_read": 0}
    rows = whole[: volts.shape[0] * request.num_samps_per_chan].reshape(volts.shape[0], -1)
    rows[:, : volts.shape[1]] = volts
    return {"status": error.code, "read_array": whole, "samps_per_chan_read": volts.shape[1]}
