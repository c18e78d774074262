"""The resistor board's real firmware, compiled and run in an AVR simulator, with the world's branches at its wipers.

Needs Linux, avr-gcc, avr-libc, gcc and simavr (Debian: gcc-avr avr-libc gcc libsimavr-dev libelf-dev); see `missing`.
What simavr does not show: receive overruns, baud mismatch, the bootloader's delay, USB latency, brown-out.
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulated_bench.servers._board_twin import PARTS, Bank
from simulated_bench.servers._serial_line import SerialLine
from simulated_bench.servers._virtual import Faults, VirtualInstrument, Wires
from simulated_bench.servers.resistor_board import Wipers
from simulated_bench.wipers import Shapes
from simulated_bench.world import World

_HERE = Path(__file__).resolve().parents[1]
_HARNESS = _HERE / "firmware_sim" / "harness.c"
_FIRMWARE = _HERE.parent / "drivers" / "firmware"
_SIMAVR = Path("/usr/include/simavr")
_PATIENCE = 10.0  # s
_MOST = 255  # bytes in one message to the harness


@dataclass(frozen=True)
class Counters:
    """What the processor has done. cycles: at 16 MHz, of which `asleep`. spi_bytes: exchanged with chips."""

    cycles: int
    asleep: int
    spi_bytes: int


def missing() -> list[str]:
    """Return what this machine lacks to build and run the firmware; empty where nothing does."""
    if not sys.platform.startswith("linux"):
        return [f"Linux (this is {sys.platform})"]
    lacking = [tool for tool in ("avr-gcc", "gcc", "make") if shutil.which(tool) is None]
    if not (_SIMAVR / "sim_avr.h").is_file():
        lacking.append("simavr's headers (libsimavr-dev)")
    lacking += [str(path) for path in (_HARNESS, _FIRMWARE / "Makefile") if not path.is_file()]
    return lacking


def build(folder: Path, banks: Sequence[Bank], serial: int = 1) -> tuple[Path, Path]:
    """Compile firmware and harness into a folder; return both. Raises RuntimeError with the compiler's words."""
    chips = _chips(banks)
    defines = [f"-DSERIAL_NUMBER={serial}UL"]
    for part, n_chips in chips.items():
        defines.append(f"-D{part}_CHIPS={n_chips}")
    for bank in banks:
        defines += [f"-D{bank.part}_OHMS={bank.end_to_end}", f"-D{bank.part}_WIPER_OHMS={bank.wiper}"]
        defines.append(f"-D{bank.part}_SAFE={bank.built_in_safe}")
    _run(["make", "-C", str(_FIRMWARE), f"BUILD={folder}", f"DEFINES={' '.join(defines)}", f"{folder}/board.elf"])
    harness = folder / "harness"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{_SIMAVR}"]
    _run(["gcc", *flags, "-o", str(harness), str(_HARNESS), "-lsimavr", "-lelf"])
    return folder / "board.elf", harness


class FirmwareBoard(VirtualInstrument):
    """The firmware on a TCP port and a pseudo-terminal; elements are `0` to n - 1 through the banks.

    banks: at most one of MCP4251, then at most one of AD5206. true, tolerance, rising, shapes: see `Wipers`. turbo: not
    held to the wall clock while busy. resets_on_connect: as DTR does on an Arduino.
    """

    def __init__(
        self,
        name: str,
        world: World,
        wires: Wires,
        *,
        banks: Sequence[Bank] = (Bank("MCP4251", 4), Bank("AD5206", 1, wiper=50)),
        true: Sequence[tuple[float, float]] | None = None,
        tolerance: float = 0.0,
        rising: bool = True,
        turbo: bool = False,
        resets_on_connect: bool = False,
        serial: int = 1,
        port: int = 0,
        shapes: Shapes | None = None,
    ) -> None:
        self.name, self.faults, self.banks = name, Faults(), list(banks)
        self.complaints: list[str] = []  # of chips that were handled as their data sheets forbid
        self._chips = _chips(banks)
        self._first_ad = 2 * self._chips["MCP4251"]
        self.codes = [128] * sum(bank.channels for bank in banks)
        self.wipers = Wipers(
            world, wires, self.banks, self.faults, true=true, tolerance=tolerance, rising=rising, shapes=shapes
        )
        self._turbo, self._serial, self._port, self._resets = turbo, serial, port, resets_on_connect
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: socket.socket | None = None
        self._line: SerialLine | None = None
        self._reader: threading.Thread | None = None
        self._reply = b""
        self._counters: Counters | None = None
        self._counted = threading.Event()
        self._sending = threading.Lock()

    @staticmethod
    def missing() -> list[str]:
        """Return what this machine lacks to build and run the firmware; empty where nothing does."""
        return missing()

    def start(self) -> list[str]:
        """Build, boot and listen; the TCP port first, then the pseudo-terminal. Raises RuntimeError."""
        if lacking := missing():
            raise RuntimeError(f"the firmware can't be built and run here; missing: {', '.join(lacking)}")
        self._folder = tempfile.TemporaryDirectory(prefix="resistor-board-")
        try:
            self._boot(*build(Path(self._folder.name), self.banks, self._serial))
            self._line = SerialLine(self._heard, self._connected, lambda: None, self.faults, self._port)
            self._line.start()
        except BaseException:
            self.stop()
            raise
        return self._line.resources

    def stop(self) -> None:
        """Stop listening, and end the simulator."""
        line, self._line = self._line, None
        if line is not None:
            line.stop()
        if self._ours is not None:
            self._ours.close()
            self._ours = None
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(timeout=_PATIENCE)
        if self._reader is not None:
            self._reader.join(timeout=_PATIENCE)
            self._reader = None
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def reset(self) -> None:
        """Pull the processor's reset line."""
        self._tell(b"R")

    def hang(self) -> None:
        """Let the main loop hang, interrupts still running; the watchdog has to end it."""
        self._tell(b"H")

    def pull(self) -> None:
        """Pull the serial cable out."""
        if self._line is not None:
            self._line.pull()

    def counters(self) -> Counters:
        """Return what the processor has done so far."""
        self._counted.clear()
        self._tell(b"C")
        if not self._counted.wait(_PATIENCE) or self._counters is None:
            raise RuntimeError("the simulator does not answer")
        return self._counters

    def _boot(self, firmware: Path, harness: Path) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            chips = [str(self._chips[part]) for part in PARTS]
            command = [str(harness), str(firmware), str(theirs.fileno()), *chips, str(int(self._turbo))]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # libsimavr prints there, and a full pipe would stop it
                stderr=subprocess.DEVNULL,
            )
        self._reader = threading.Thread(target=self._listen, args=(self._ours,), name=f"{self.name} AVR", daemon=True)
        self._reader.start()

    def _heard(self, data: bytes) -> None:
        for start in range(0, len(data), _MOST):
            part = data[start : start + _MOST]
            self._tell(b"U" + bytes([len(part)]) + part)

    def _connected(self) -> None:
        if self._resets:
            self.reset()

    def _tell(self, message: bytes) -> None:
        ours = self._ours
        if ours is not None:
            with self._sending:
                ours.sendall(message)

    def _listen(self, ours: socket.socket) -> None:
        """Take what the simulator says, in its order: a wiper has moved in the world before the reply tells so."""
        with ours.makefile("rb") as said:
            while (tag := said.read(1)) != b"":
                if tag == b"U":
                    self._uart(said.read(said.read(1)[0]))
                elif tag == b"W":
                    self._moved(*struct.unpack(">BBH", said.read(4)))
                elif tag == b"C":
                    self._counters = Counters(*struct.unpack(">3Q", said.read(24)))
                    self._counted.set()
                elif tag == b"X":
                    self.complaints.append(said.read(said.read(1)[0]).decode())

    def _uart(self, data: bytes) -> None:
        self._reply += data
        while b"\0" in self._reply:
            frame, self._reply = self._reply.split(b"\0", 1)
            if self._line is not None:
                self._line.reply(frame + b"\0")

    def _moved(self, chip: int, wiper: int, code: int) -> None:
        behind = chip - self._chips["MCP4251"]
        channel = 2 * chip + wiper if behind < 0 else self._first_ad + 6 * behind + wiper
        self.codes[channel] = code
        self.wipers.show(self.codes, range(channel, channel + 1))


def _chips(banks: Sequence[Bank]) -> dict[str, int]:
    """Return how many chips there are of each part, in the firmware's order."""
    parts = [bank.part for bank in banks]
    if parts != [part for part in PARTS if part in parts]:
        raise ValueError(f"the firmware has one bank of each part, in the order {', '.join(PARTS)}; not {parts}")
    return {part: sum(bank.chips for bank in banks if bank.part == part) for part in PARTS}


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
