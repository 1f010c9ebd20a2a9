"""Checks of what an attack is given, made once, before it begins."""

from torch import Tensor


def require(holds: bool, name: str, value: object, remedy: str) -> None:
    """Check a parameter.

    Args:
        holds: Whether it may be used.
        name: The parameter's.
        value: The parameter's.
        remedy: What to give instead.

    Raises:
        ValueError: It may not.
    """
    if not holds:
        raise ValueError(f"{name} is {value}: {remedy}")


def check_batch(images: Tensor, labels: Tensor, targets: Tensor | None = None) -> None:
    """Check that images, labels and targets are what an attack takes.

    Args:
        images: (B, C, H, W) floats in [0, 1].
        labels: (B,) int64.
        targets: (B,) int64, or None.

    Raises:
        ValueError: They are not.
    """
    shape = tuple(images.shape)
    require(images.dim() == 4, "images' shape", shape, "give (samples, channels, rows, columns)")
    require(images.is_floating_point(), "images' type", images.dtype, "give floats in [0, 1]")
    for name, classes in (("labels", labels), ("targets", targets)):
        if classes is not None:
            _check_classes(name, classes, len(images))
    if len(images):
        low, high = (float(bound) for bound in images.aminmax())
        require(low >= 0 and high <= 1, "images' range", f"[{low:.4g}, {high:.4g}]", "scale pixels to [0, 1]")


def check_radius(epsilon: float) -> None:
    """Check a radius: a number from 0 on.

    Raises:
        ValueError: It is not.
    """
    require(0 <= epsilon < float("inf"), "epsilon", epsilon, "give a radius from 0 on, in pixels of [0, 1]")


def _check_classes(name: str, classes: Tensor, count: int) -> None:
    shape = tuple(classes.shape)
    require(shape == (count,), f"{name}' shape", shape, f"give one class for each of the {count} images")
    integers = not (classes.is_floating_point() or classes.is_complex())
    require(integers, f"{name}' type", classes.dtype, "give class numbers, int64")
