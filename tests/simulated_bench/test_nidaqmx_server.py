"""The virtual NI-DAQmx server, asked by the real `nidaqmx` package as its manual shows, and not by our driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import enumerate as threads

import grpc
import nidaqmx
import numpy as np
import pytest
from nidaqmx.constants import AcquisitionType, TaskMode
from nidaqmx.stream_readers import AnalogMultiChannelReader
from nidaqmx.stream_writers import AnalogMultiChannelWriter
from nidaqmx.system import System

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import Branch, Network
from simulated_bench.circuit import Connection
from simulated_bench.converter import quantised
from simulated_bench.servers import Fault, FaultKind, Wires
from simulated_bench.servers.nidaqmx import NidaqmxServer
from simulated_bench.world import Constant, World

RATE = 1000.0


def divider() -> World:
    """`top` at an output, 1 kOhm to `middle`, 3 kOhm to ground: three quarters of the output."""
    ends = (("top", "middle", 1e3), ("middle", "ground", 3e3))
    branches = tuple(Branch(f"{p}-{m}", p, m, ELEMENTS["resistor"], (1 / R,)) for p, m, R in ends)
    terminals = {"daq/ao0": Connection(0, -1, "voltage")}
    return World(Network(("top", "middle"), branches), terminals, np.random.default_rng(5))


class Client:
    """A server and the real package connected to it; every task that it makes is closed."""

    def __init__(self, **options: object) -> None:
        wires = Wires({"ao0": "daq/ao0"}, {"ai0": "top", "ai1": "middle"})
        self.server = NidaqmxServer("daq", divider(), wires, **options)
        resource = self.server.start()[0]
        self.channel = grpc.insecure_channel(resource.split("/")[2])
        self.options = nidaqmx.GrpcSessionOptions(self.channel, "")
        self.tasks: list[nidaqmx.Task] = []

    def task(self) -> nidaqmx.Task:
        self.tasks.append(nidaqmx.Task(grpc_options=self.options))
        return self.tasks[-1]

    def outputs(self, samples: np.ndarray | None, channels: str = "Dev1/ao0") -> nidaqmx.Task:
        """Return a clocked task with its samples, (sample,), written."""
        task = self.task()
        task.ao_channels.add_ao_voltage_chan(channels)
        if samples is not None:
            finite = AcquisitionType.FINITE
            task.timing.cfg_samp_clk_timing(RATE, sample_mode=finite, samps_per_chan=samples.size)
            AnalogMultiChannelWriter(task.out_stream, auto_start=False).write_many_sample(samples[None, :].copy())
        return task

    def inputs(self, n: int, channels: str = "Dev1/ai0:1", *, source: str = "", trigger: str = "") -> nidaqmx.Task:
        task = self.task()
        task.ai_channels.add_ai_voltage_chan(channels, min_val=-10.0, max_val=10.0)
        task.timing.cfg_samp_clk_timing(RATE, source, sample_mode=AcquisitionType.FINITE, samps_per_chan=n)
        if trigger:
            task.triggers.start_trigger.cfg_dig_edge_start_trig(trigger)
        return task

    def close(self) -> None:
        for task in self.tasks:
            if task._handle is not None:
                task.close()
        left = self.server.open_tasks
        self.channel.close()
        self.server.stop()
        assert left == []


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    opened = Client(**getattr(request, "param", {}))
    yield opened
    opened.close()


def read(task: nidaqmx.Task, n_channels: int, n: int, timeout: float = 0.2) -> np.ndarray:
    volts = np.full((n_channels, n), np.nan)
    AnalogMultiChannelReader(task.in_stream).read_many_sample(volts, n, timeout=timeout)
    return volts


def refused(code: int) -> pytest.RaisesExc:
    return pytest.raises(nidaqmx.DaqError, check=lambda error: error.error_code == code)


STAIRS = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("how", [{"trigger": "/Dev1/ao/StartTrigger"}, {"source": "/Dev1/ao/SampleClock"}])
def test_armed_inputs_see_every_sample_of_the_outputs_through_the_divider(client, how):
    inputs, outputs = client.inputs(4, **how), client.outputs(STAIRS)
    inputs.start()
    outputs.start()
    assert read(inputs, 2, 4) == pytest.approx(np.array([STAIRS, 0.75 * STAIRS]))


def test_samples_are_those_of_the_moment_when_they_were_taken(client):
    inputs, outputs = client.inputs(4, trigger="/Dev1/ao/StartTrigger"), client.outputs(STAIRS)
    inputs.start()
    outputs.start()
    outputs.stop()
    client.server.world.put("daq/ao0", Constant(9.0))
    assert read(inputs, 2, 4)[0] == pytest.approx(STAIRS)


@pytest.mark.parametrize("how", [{"trigger": "/Dev1/ao/StartTrigger"}, {"source": "/Dev1/ao/SampleClock"}])
def test_inputs_armed_after_the_outputs_started_never_trigger_and_nobody_waits_for_it(client, how):
    inputs, outputs = client.inputs(4, **how), client.outputs(STAIRS)
    outputs.start()
    inputs.start()
    begun = time.monotonic()
    with refused(-200284) as caught:
        read(inputs, 2, 4, timeout=30.0)
    assert caught.value.samps_per_chan_read == 0
    assert time.monotonic() - begun < 5.0


def test_a_read_that_is_too_short_gets_the_samples_that_there_are(client):
    inputs, outputs = client.inputs(4, trigger="/Dev1/ao/StartTrigger"), client.outputs(STAIRS)
    inputs.start()
    outputs.start()
    with refused(-200284) as caught:
        read(inputs, 2, 4, timeout=2.5 / RATE)
    assert caught.value.samps_per_chan_read == 2


def test_more_inputs_than_ticks_of_the_outputs_do_not_all_come(client):
    inputs, outputs = client.inputs(6, source="/Dev1/ao/SampleClock"), client.outputs(STAIRS)
    inputs.start()
    outputs.start()
    with refused(-200284) as caught:
        read(inputs, 2, 6)
    assert caught.value.samps_per_chan_read == 4


def test_outputs_hold_their_last_sample_and_stopped_ones_the_sample_that_was_on(client):
    world = client.server.world
    outputs = client.outputs(STAIRS)
    outputs.start()
    world.advance(1.5 / RATE)
    assert not outputs.is_task_done()
    outputs.stop()
    world.advance(1.0)
    assert world.level("daq/ao0") == 2.0
    outputs.control(TaskMode.TASK_UNRESERVE)
    again = client.outputs(STAIRS)
    again.start()
    again.wait_until_done(timeout=1.0)
    assert world.level("daq/ao0") == 4.0


def test_waiting_for_outputs_too_briefly_is_told(client):
    outputs = client.outputs(STAIRS)
    outputs.start()
    with refused(-200560):
        outputs.wait_until_done(timeout=1.0 / RATE)


def test_a_buffer_is_put_out_once(client):
    outputs = client.outputs(STAIRS)
    outputs.start()
    outputs.wait_until_done(timeout=1.0)
    outputs.stop()
    with refused(-200462):
        outputs.start()


def test_a_task_without_a_clock_sets_its_level_at_once(client):
    client.outputs(None).write(2.5)
    assert client.server.world.level("daq/ao0") == 2.5


def test_unwired_inputs_read_zero_and_unwired_outputs_go_nowhere(client):
    client.outputs(None, "Dev1/ao7").write(5.0)
    inputs = client.inputs(2, "Dev1/ai9")
    inputs.start()
    assert read(inputs, 1, 2).tolist() == [[0.0, 0.0]]
    assert client.server.world.level("daq/ao0") == 0.0


def test_two_tasks_can_not_hold_the_same_output(client):
    client.outputs(STAIRS)
    with refused(-50103):
        client.outputs(None).write(1.0)


@pytest.mark.parametrize(
    ("code", "act"),
    [
        (-200170, lambda client: client.task().ai_channels.add_ai_voltage_chan("Dev1/ai32")),
        (-200220, lambda client: client.task().ai_channels.add_ai_voltage_chan("Dev9/ai0")),
        (-200077, lambda client: client.task().ai_channels.add_ai_voltage_chan("Dev1/ai0", max_val=11.0)),
        (-200077, lambda client: client.inputs(1)),
        (-200561, lambda client: client.outputs(np.array([0.0, 10.5]))),
        (-200462, lambda client: client.outputs(None).start()),
        (-200197, lambda client: System.remote(client.options).devices["Dev1"].bus_type),
        (-200452, lambda client: client.inputs(4).timing.ai_conv_rate),
    ],
)
def test_what_a_card_refuses_is_told_by_its_code(client, code, act):
    with refused(code):
        act(client)


def test_what_is_not_known_is_listed(client):
    with refused(-200197):
        _ = System.remote(client.options).devices["Dev1"].bus_type
    assert client.server.unknown_attributes == ["Get Device 0x2326"]


def test_a_call_that_is_not_there_is_unimplemented(client):
    with pytest.raises(nidaqmx.errors.RpcError, match="UNIMPLEMENTED"):
        System.remote(client.options).devices["Dev1"].self_test_device()


def test_a_reset_ends_every_task_of_the_card_and_brings_outputs_to_zero(client):
    client.outputs(STAIRS).start()
    System.remote(client.options).devices["Dev1"].reset_device()
    assert client.server.world.level("daq/ao0") == 0.0


@pytest.mark.parametrize("client", [{"ai_bits": 4, "ao_bits": 4}], indirect=True)
def test_converters_round_to_their_codes(client):
    # 4 bits over +-10 V: steps of 1.25 V, the highest code 8.75 V. 9.9 V at the output is 8.75 V, and so is it read;
    # three quarters of it, 6.5625 V, lie at 5.25 steps: 6.25 V.
    client.outputs(None).write(9.9)
    assert client.server.world.level("daq/ao0") == 8.75
    inputs = client.inputs(2)
    inputs.start()
    assert read(inputs, 2, 2)[:, 0].tolist() == [8.75, 6.25]


def test_a_converter_has_zero_and_one_negative_code_more():
    # 3 bits over +-4 V: -4 to 3 V in steps of 1 V
    assert quantised(np.array([-9.0, -0.4, 0.0, 2.6, 9.0]), 4.0, 3).tolist() == [-4.0, 0.0, 0.0, 3.0, 3.0]


@pytest.mark.parametrize("client", [{"multiplexed": True}], indirect=True)
def test_a_multiplexed_converter_takes_one_channel_after_the_other(client):
    inputs = client.inputs(4, trigger="/Dev1/ao/StartTrigger")
    # Room for it: 1 us each and 10 us to settle. With 20 channels at 4 kHz there is none: evenly, 80 kHz.
    assert inputs.timing.ai_conv_rate == pytest.approx(1 / 11e-6)
    many = client.task()
    many.ai_channels.add_ai_voltage_chan("Dev1/ai0:19")
    many.timing.cfg_samp_clk_timing(5e3, sample_mode=AcquisitionType.FINITE, samps_per_chan=4)
    assert many.timing.ai_conv_rate == pytest.approx(100e3)


@pytest.mark.parametrize("client", [{"noise": 0.01}], indirect=True)
def test_noise_has_the_size_that_was_asked(client):
    inputs = client.inputs(4000, "Dev1/ai0")
    inputs.start()
    assert np.std(read(inputs, 1, 4000, timeout=5.0)) == pytest.approx(0.01, rel=0.06)  # 5 sigma


@pytest.mark.parametrize("client", [{"also": ("Dev2",)}], indirect=True)
def test_a_second_card_counts_the_first_ones_clock(client):
    second = client.inputs(4, "Dev2/ai0", source="/Dev1/ai/SampleClock")
    first, outputs = client.inputs(4, trigger="/Dev1/ao/StartTrigger"), client.outputs(STAIRS)
    second.start()
    first.start()
    outputs.start()
    assert read(second, 1, 4).tolist() == [[0.0] * 4]  # not wired, but there
    assert read(first, 2, 4)[0] == pytest.approx(STAIRS)


def test_a_stuck_output_keeps_its_value_and_a_stuck_input_what_it_last_saw(client):
    outputs, inputs = client.outputs(None), client.inputs(2)
    outputs.write(1.0)
    assert read(inputs, 2, 2)[:, 1] == pytest.approx([1.0, 0.75])
    inputs.stop()
    client.server.faults.add(Fault(FaultKind.STUCK, channel="ai1"))
    outputs.write(2.0)
    assert read(inputs, 2, 2)[:, 1] == pytest.approx([2.0, 0.75])
    client.server.faults.add(Fault(FaultKind.STUCK, channel="ao0"))
    outputs.write(5.0)
    assert client.server.world.level("daq/ao0") == 2.0


def test_an_ordered_code_happens_once_at_its_call(client):
    client.server.faults.add(Fault(FaultKind.ERROR_CODE, channel="StopTask", code=-50405))
    outputs = client.outputs(STAIRS)
    outputs.start()
    with refused(-50405):
        outputs.stop()
    outputs.stop()


def test_a_stopped_server_ends_calls_that_wait_and_leaves_no_thread():
    client = Client()
    client.server.faults.add(Fault(FaultKind.DROP_REPLY, channel="StartTask"))
    waiting = client.outputs(STAIRS)
    call = waiting._interpreter._client.StartTask.future(_start_request(waiting))
    while not client.server.calls or client.server.calls[-1].rpc != "StartTask":
        time.sleep(0.005)
    begun = time.monotonic()
    client.server.stop()
    client.server.stop()
    assert time.monotonic() - begun < 2.0
    assert call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert client.server.open_tasks == []
    client.channel.close()
    deadline = time.monotonic() + 2.0
    while any(thread.name.startswith("daq") for thread in threads()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [thread.name for thread in threads() if thread.name.startswith("daq")]


def _start_request(task: nidaqmx.Task) -> object:
    from nidaqmx._stubs import nidaqmx_pb2

    return nidaqmx_pb2.StartTaskRequest(task=task._handle)
