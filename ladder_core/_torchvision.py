"""``torchvision`` imported so that it works beside a CPU build of torch.

The torchvision wheel on PyPI is compiled for CUDA. Beside a CPU-only torch its operator library fails to
load, and then ``import torchvision`` fails too: it registers meta kernels for two detection operators whose
schemas only that library declares. Declaring the schemas first is enough for everything that needs no
compiled operator: models, transforms, data sets. With a matching library this module changes nothing.

Import torchvision from here: ``from ladder_core._torchvision import torchvision``.
"""

import torch

# Schemas as in torchvision/csrc/ops/nms.cpp and quantized/cpu/qnms_kernel.cpp.
_DETECTION_OPERATORS = ("torchvision::nms", "torchvision::qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

try:
    import torchvision
except RuntimeError:
    for _operator in _DETECTION_OPERATORS:
        torch.library.define(_operator, _SCHEMA)
    import torchvision

__all__ = ["torchvision"]
