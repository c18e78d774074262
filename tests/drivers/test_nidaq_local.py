"""The NI-DAQmx driver for a card in this computer: `nidaqmx`'s own interpreter for NI's library, on a model of that.

Over gRPC any array passes; here only what ctypes would give to NI's library does. See daqmx_library.
"""

from __future__ import annotations

from collections.abc import Iterator

import nidaqmx
import numpy as np
import pytest
import test_nidaq as over_grpc
from daqmx_library import DaqmxLibrary
from nidaqmx._lib import DaqFunctionImporter, lib_importer

from drivers.nidaq import NIDAQMX
from freqprop_lab.instruments import ConnectionLostError, TimeLimitError
from freqprop_lab.waveform import Sine
from simulated_bench.servers.nidaqmx import NidaqmxServer


def install(server: NidaqmxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    library = DaqFunctionImporter(DaqmxLibrary(server))
    for name, value in (("_windll", library), ("_cdll", library), ("_encoding", "utf-8")):
        monkeypatch.setattr(lib_importer, name, value)


class Local:
    """The card is in this computer: the wire that the server has too stays unused."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def library(cls, card: None) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            install(cls.server, patch)
            yield


class TestSourceInThisComputer(Local, over_grpc.TestSource):
    fields = {"resource": "Dev1"}


class TestMeterInThisComputer(Local, over_grpc.TestMeter):
    fields = {"resource": "Dev1"}


class TestMultiplexedMeterInThisComputer(Local, over_grpc.TestMeter):
    options = {"multiplexed": True}
    fields = {"resource": "Dev1", "clock": "ao"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NidaqmxServer]:
    server = over_grpc.serve()
    server.resources = ["Dev1"]
    install(server, monkeypatch)
    yield server
    assert server.open_tasks == []
    assert server.unknown_attributes == []


def test_inputs_are_armed_before_outputs_start_and_the_samples_are_those_of_the_outputs(server: NidaqmxServer) -> None:
    roles = over_grpc.connect(server, reads=("ai8", "ai9"))
    for _ in range(2):
        server.calls.clear()
        taken = over_grpc.record(roles)
        assert [str(call) for call in server.calls if call.rpc == "StartTask"] == ["StartTask ai", "StartTask ao"]
        # Levels 0.5 V and 1 V, a sine of 0.1 V with its crest at a quarter of 100 samples.
        assert taken.volts[:, [0, 25, 75]] == pytest.approx(np.array([[0.5, 0.6, 0.4], [1.0, 1.1, 0.9]]))
    over_grpc.close(roles)


def test_strided_and_single_precision_levels_reach_the_library_as_it_wants_them(server: NidaqmxServer) -> None:
    roles = over_grpc.connect(server, reads=("ai8", "ai9"))
    levels = np.asfortranarray(np.array([[0.5, 9.0], [1.0, 9.0]], dtype=np.float32))[:, 0]
    roles.source.load(levels, levels[::-1], Sine(), over_grpc.RATE / 100, 1, over_grpc.RATE)
    roles.meter.arm(100, over_grpc.RATE)
    roles.source.start()
    assert roles.meter.read().volts[:, 25] == pytest.approx([1.5, 1.5])
    roles.source.stop()
    over_grpc.close(roles)


def test_the_library_here_refuses_what_ctypes_would(server: NidaqmxServer) -> None:
    with nidaqmx.Task() as task:  # that the tests above could fail at all
        task.ao_channels.add_ao_voltage_chan("Dev1/ao0:1")
        task.timing.cfg_samp_clk_timing(1000.0, samps_per_chan=10)
        writer = nidaqmx.stream_writers.AnalogMultiChannelWriter(task.out_stream)
        for volts in (np.zeros((10, 2)).T, np.zeros((2, 20))[:, ::2], np.zeros((2, 10), dtype=np.float32)):
            with pytest.raises((TypeError, nidaqmx.DaqError)):
                writer.write_many_sample(volts)
        assert writer.write_many_sample(np.zeros((2, 10))) == 10


def test_errors_of_the_library_are_told_as_those_over_the_wire(server: NidaqmxServer) -> None:
    roles = over_grpc.connect(server)
    roles.meter.arm(100, over_grpc.RATE)
    with pytest.raises(TimeLimitError, match=r'(?s)instrument "daq" \(Dev1\), .*-200284.*Arm the meter before'):
        roles.meter.read()  # nothing started it
    over_grpc.record(roles)
    over_grpc.close(roles)


def test_a_card_that_is_not_there_is_named_with_the_nearest_and_those_there_are_are_found(
    server: NidaqmxServer,
) -> None:
    with pytest.raises(ConnectionLostError, match="Dev2.*Dev1"):
        over_grpc.connect(server, resource="Dev2")
    found = NIDAQMX.discover(network=False)
    assert [each.line for each in found] == ["{driver: nidaqmx, resource: Dev1}"]
