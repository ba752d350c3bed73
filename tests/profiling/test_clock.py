"""Timing by rule: warm up until steady, then measure; double the batch while it gains."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest
import torch

from zsbench.errors import UserError
from zsbench.method import Method
from zsbench.profiling import clock
from zsbench.profiling.clock import compiled
from zsbench.profiling.energy import Gpu, find_gpu
from zsbench.profiling.memory import peak_memory, reset_peak_memory

CPU = torch.device("cpu")


@pytest.fixture
def scripted(monkeypatch):
    """Let calls take the given milliseconds, the last of them again and again."""

    def script(*times):
        left = list(times)
        monkeypatch.setattr(clock, "milliseconds", lambda call, device: left.pop(0) if len(left) > 1 else left[0])

    return script


def test_a_call_is_timed():
    assert clock.milliseconds(lambda: time.sleep(0.02), CPU) == pytest.approx(20, abs=15)


def test_warming_up_ends_when_runs_are_equally_long(scripted):
    scripted(90, 50, 30, 20, 12, 10, 10, 10, 10, 10)
    measured = clock.latency(lambda: None, CPU, seconds=1)
    assert measured.steady and set(measured.times) == {10}
    assert len(measured.times) == 100  # as many as fit in a second


def test_what_never_becomes_steady_is_said_to_be_so(scripted):
    scripted(*[10, 10, 10, 20, 20, 20] * 20)
    measured = clock.latency(lambda: None, CPU, seconds=0.3)
    assert not measured.steady and measured.warm_up == 22  # then 320 ms are over


def test_slow_calls_are_run_once_to_warm_up_and_three_times(scripted):
    scripted(60_000)
    measured = clock.latency(lambda: None, CPU, seconds=10)
    assert (measured.warm_up, len(measured.times), measured.steady) == (1, 3, False)


def test_a_batch_is_warmed_up_unless_it_is_slow(scripted):
    scripted(900, 500, 500, 400)
    assert clock.rate(lambda: None, 2, CPU, seconds=4) == 2 / 0.5
    scripted(5000, 100)
    assert clock.rate(lambda: None, 2, CPU, seconds=4) == 2 / 5


def search(monkeypatch, rates, most=64):
    """The search where a batch gives so many images in a second."""

    def rate(call, batch, device, seconds):
        if isinstance(rates[batch], Exception):
            raise rates[batch]
        return rates[batch]

    monkeypatch.setattr(clock, "rate", rate)
    return clock.throughput(lambda batch: lambda: None, rates[1], most, CPU, 1)


def test_the_batch_is_doubled_until_that_gains_nothing(monkeypatch):
    found = search(monkeypatch, {1: 10, 2: 19, 4: 30, 8: 30.1, 16: 99})
    assert found.best == 8 and list(found.rates) == [1, 2, 4, 8] and found.exhausted is None
    assert list(search(monkeypatch, {1: 10, 2: 20, 4: 40}, most=2).rates) == [1, 2]


def test_exhausted_memory_ends_the_search(monkeypatch):
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
    found = search(monkeypatch, {1: 10, 2: 19, 4: full})
    assert (found.best, found.exhausted) == (2, 4)
    with pytest.raises(RuntimeError, match="other"):
        search(monkeypatch, {1: 10, 2: RuntimeError("other")})


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are forgotten on Linux alone")
def test_peak_memory_is_of_what_ran_since_it_was_reset():
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    large = torch.ones(2**26)
    assert peak_memory(CPU) - before > 0.9 * large.nbytes
    del large
    reset_peak_memory(CPU)
    assert peak_memory(CPU) - before < 2**27


class Library:
    """NVML with one GPU, which takes 5 J between two questions."""

    NVMLError = OSError
    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2
    millijoules = 0

    def nvmlInit(self):
        """Nothing to do."""

    def nvmlDeviceGetHandleByUUID(self, uuid):
        assert uuid == "GPU-12-34"
        return "handle"

    def nvmlSystemGetDriverVersion(self):
        return b"570.1"

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1000 * kind

    def nvmlDeviceGetMaxClockInfo(self, handle, kind):
        return 1500 * kind

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if self.millijoules is None:
            raise self.NVMLError
        self.millijoules += 5000
        return self.millijoules


def test_what_nvml_says(monkeypatch, scripted):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-34"))
    monkeypatch.setitem(sys.modules, "pynvml", library := Library())
    gpu = find_gpu(torch.device("cuda:0"))
    assert gpu.driver == "570.1" and gpu.clocks == {"SM": 1000, "SM max": 1500, "MEM": 2000, "MEM max": 3000}
    scripted(1000)
    assert clock.latency(lambda: None, CPU, 5, gpu).joules == 1  # 5 J in 5 runs
    library.millijoules = None
    assert gpu.joules is None
    assert find_gpu(CPU) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_gpu(torch.device("cuda:0")) is None
    assert isinstance(gpu, Gpu)


class Doubling(Method):
    def predict(self, images):
        return 2 * images


def test_a_compiler_that_fails_is_one_message(monkeypatch):
    def no_compiler(predict, dynamic):
        def call(images):
            raise RuntimeError("No working C++ compiler found\nlong story")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    method = Doubling(None, None)
    with (
        pytest.raises(UserError, match=r"--compile: torch.compile failed: No working C\+\+ compiler found\. It needs"),
        compiled(method, lambda: method.predict(torch.ones(1))),
    ):
        raise AssertionError("must not be reached")
    assert method.predict(torch.ones(1)) == 2  # as it was


@pytest.mark.slow
def test_a_method_is_compiled(monkeypatch):
    method, images = Doubling(None, None), torch.rand(8)
    with compiled(method, lambda: method.predict(images)) as seconds:
        assert seconds > 0 and hasattr(method.predict, "_torchdynamo_orig_callable")
        assert torch.equal(method.predict(images), 2 * images)
    assert not hasattr(method.predict, "_torchdynamo_orig_callable")
