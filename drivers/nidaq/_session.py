"""One card, opened once: the connection, its lock, its deadlines, its tasks, and what the card says of itself.

`Dev1` is a card in this computer; `grpc://host:port/Dev1` one behind an NI gRPC Device Server. Both are the same
calls of the `nidaqmx` package, which is imported when a card is opened.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from drivers.nidaq._errors import is_translatable, no_device, translate
from freqprop_lab.instruments import ConnectionLostError, Identity, InstrumentError

_SAFE_CALL = 0.5  # s that one call may take while outputs are brought to zero
_RESOURCE = re.compile(r"grpc://(?P<host>[^/]+:\d+)/(?P<device>[\w-]+)")
_EXTRA = 'driver "nidaqmx" needs an extra that isn\'t installed: pip install "freqprop-lab[nidaq]"'
# A record of 40 x 13,200 samples is longer than gRPC takes unless told.
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def split_resource(resource: str) -> tuple[str, str]:
    """Return the server, `host:port` (empty: this computer), and the device's name. Raises ValueError."""
    remote = _RESOURCE.fullmatch(resource)
    if remote is not None:
        return remote["host"], remote["device"]
    if not re.fullmatch(r"[\w-]+", resource):
        raise ValueError(
            f'"{resource}" is no card; write Dev1, or grpc://host:port/Dev1 where it is in another computer'
        )
    return "", resource


@dataclass(frozen=True)
class CardFacts:
    """What a card says of itself. Ranges: (lowest, highest), V. Rates: Hz, per channel, or shared if multiplexed."""

    device: str
    model: str
    serial: str
    ao_channels: tuple[str, ...]
    ai_channels: tuple[str, ...]
    ao_ranges: tuple[tuple[float, float], ...]
    ai_ranges: tuple[tuple[float, float], ...]
    ao_rate: float
    ai_single_rate: float
    ai_rate: float
    simultaneous: bool


class Session:
    """The connection that the roles of a card share. timeout: s, beyond what a call itself has to wait for.

    Every call goes through `told`, which holds the lock and turns what goes wrong into our errors.
    """

    def __init__(self, name: str, resource: str, timeout: float) -> None:
        self.name, self.resource, self.timeout = name, resource, timeout
        self._server, self.device = split_resource(resource)
        self._lock = threading.RLock()
        self._is_hurried = False
        self._tasks: list[Any] = []
        self._users = 0
        self._channel: Any = None
        self._options: Any = None
        self.output_is_busy: Callable[[], bool] = bool  # the source says so, where there is one
        self.armed_rate: float | None = None  # Hz, while the meter waits for the source
        try:
            self.library: Any = importlib.import_module("nidaqmx")
            self.constants: Any = importlib.import_module("nidaqmx.constants")
            self._systems: Any = importlib.import_module("nidaqmx.system")
            if self._server:
                self._connect()
        except ModuleNotFoundError:
            raise ConnectionLostError(_EXTRA) from None

    def _connect(self) -> None:
        grpc: Any = importlib.import_module("grpc")
        importlib.import_module("nidaqmx._grpc_interpreter")  # so that what is missing is missed here
        self._channel = grpc.insecure_channel(self._server, options=_UNLIMITED)
        bounded = _BoundedChannel(self._channel, self)
        self._options = self.library.GrpcSessionOptions(bounded, "")

    @contextlib.contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Hold the lock, and let no error of the library pass: doing says what was tried, with which channels."""
        with self._lock:
            try:
                yield
            except InstrumentError:
                raise
            except Exception as error:
                if not is_translatable(error):
                    raise
                raise translate(error, f'instrument "{self.name}" ({self.resource}), {doing}') from error

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Give each call at most half a second: for what must be quick whatever the server does."""
        with self._lock:
            before, self._is_hurried = self._is_hurried, True
            try:
                yield
            finally:
                self._is_hurried = before

    def deadline(self, request: Any) -> float:
        """Return how long a call may take, s: what it says itself that it waits, and the time-out on top."""
        if self._is_hurried:
            return self.patience
        return self.timeout + max(getattr(request, "timeout", 0.0), getattr(request, "time_to_wait", 0.0))

    @property
    def patience(self) -> float:
        """How long the card itself may wait in a call, s."""
        return min(self.timeout, _SAFE_CALL) if self._is_hurried else self.timeout

    def facts(self, device: str) -> CardFacts:
        """Ask a card what it is. Raises ConnectionLostError where it, or the server, is not there."""
        with self.told(f"asking {device} what it is"):
            system = self._systems.System(self._options)
            version = system.driver_version
            known = list(system.devices.device_names)
            if device not in known:
                raise no_device(
                    f'instrument "{self.name}" ({self.resource}), NI-DAQmx {_dotted(version)}', device, known
                )
            card = system.devices[device]
            return CardFacts(
                device,
                card.product_type,
                f"{card.serial_num:08X}",
                tuple(_local(channel.name) for channel in card.ao_physical_chans),
                tuple(_local(channel.name) for channel in card.ai_physical_chans),
                _pairs(card.ao_voltage_rngs),
                _pairs(card.ai_voltage_rngs),
                card.ao_max_rate,
                card.ai_max_single_chan_rate,
                card.ai_max_multi_chan_rate,
                card.ai_simultaneous_sampling_supported,
            )

    def devices(self) -> list[str]:
        """List the names of all devices that the driver knows."""
        with self.told("listing the devices"):
            return list(self._systems.System(self._options).devices.device_names)

    def identity(self, facts: CardFacts) -> Identity:
        """Say who the card is."""
        with self.told("asking for the driver's version"):
            version = _dotted(self._systems.System(self._options).driver_version)
        return Identity("National Instruments", facts.model, facts.serial, f"NI-DAQmx {version}")

    def task(self) -> Any:
        """Make a task, cleared with the session at the latest. Unnamed: a named one might attach to a foreign task."""
        task = self.library.Task(grpc_options=self._options)
        self._tasks.append(task)
        return task

    def clear(self, tasks: list[Any]) -> None:
        """Clear tasks, all of them, whatever happens to one; then raise the first thing that went wrong."""
        faults: list[InstrumentError] = []
        for task in tasks:
            try:
                with self.hurried(), self.told("clearing its tasks"):
                    self._tasks.remove(task)
                    task.close()
            except InstrumentError as error:
                faults.append(error)
        if faults:
            raise faults[0]

    def reset_device(self) -> None:
        """Reset the card: every task on it ends, its outputs go to what they are at power-on."""
        self._systems.System(self._options).devices[self.device].reset_device()

    def enter(self) -> None:
        """Count a role that uses the session."""
        self._users += 1

    def leave(self) -> None:
        """Count a role that no longer does; the last one ends the connection."""
        self._users -= 1
        if self._users <= 0:
            self.disconnect()

    def disconnect(self) -> None:
        """Clear every task that is left and end the connection; raises nothing."""
        with contextlib.suppress(InstrumentError):
            self.clear(list(self._tasks))
        if self._channel is not None:
            self._channel.close()


class _BoundedChannel:
    """A gRPC channel whose calls all have a deadline: the library gives none, and would wait for ever."""

    def __init__(self, channel: Any, session: Session) -> None:
        self._channel, self._session = channel, session
        self._calls: dict[str, Any] = {}

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the channel's call, bounded. Made once: the library asks for all 448 again for each of its tasks."""
        if method not in self._calls:
            call = self._channel.unary_unary(method, *args, **kwargs)

            def bounded(request: Any, metadata: Any = None) -> Any:
                return call(request, timeout=self._session.deadline(request), metadata=metadata)

            self._calls[method] = bounded
        return self._calls[method]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def _dotted(version: Any) -> str:
    return ".".join(str(part) for part in version)


def _local(channel: str) -> str:
    return channel.rpartition("/")[2]


def _pairs(ends: list[float]) -> tuple[tuple[float, float], ...]:
    return tuple(zip(ends[::2], ends[1::2], strict=True))
