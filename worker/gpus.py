"""Memory of this machine's GPUs, asked of NVIDIA's driver, not of CUDA; without one there are no series."""

from collections.abc import Iterator

import pynvml
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_USED = ("ladder_gpu_memory_used_bytes", "Memory in use on a GPU of this machine, whoever uses it.")
_TOTAL = ("ladder_gpu_memory_bytes", "Memory of a GPU of this machine.")


class GpuCollector(Collector):
    """Asks at every scrape: a call into the driver takes microseconds."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self._count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError:
            self._count = 0

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families, without asking anybody."""
        yield GaugeMetricFamily(*_USED, labels=["gpu", "uuid"])
        yield GaugeMetricFamily(*_TOTAL, labels=["gpu", "uuid"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One sample a GPU; one that does not answer is left out."""
        used, total = self.describe()
        for index in range(self._count):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                labels = [str(index), str(pynvml.nvmlDeviceGetUUID(handle))]
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            except pynvml.NVMLError:
                continue
            used.add_metric(labels, memory.used)
            total.add_metric(labels, memory.total)
        yield used
        yield total
