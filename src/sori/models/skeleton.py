"""Compare a configuration with the tensors of a file, before anything of its size is allocated.

A configuration from an untrusted source can describe a model of any size. Here the model is built without memory for
its tensors (on torch's device `meta`), and building stops when it has become much larger than the file.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sori.core.shapes import Tensor
from sori.models.factory import require_equal

_CALLS_PER_TENSOR, _CALLS_OF_PARTS = 50, 1000
"""Calls of torch allowed per tensor of the file, and for parts that the file may lack. Building a model takes 4 to 8
per tensor."""
_UNBUILDABLE = (ArithmeticError, IndexError, MemoryError, RuntimeError, TypeError, ValueError)
"""Raised by sizes that make no model, such as no heads, or a matrix with over 2**63 numbers."""


class _TooLargeError(Exception):
    """The model has become much larger than the file."""


class WithoutDraws(TorchFunctionMode):
    """Leaves tensors on the device `meta`, which have no values, as they are where values would be drawn.

    Torch has normal draws on this device in Python only, behind its compiler, whose import takes over a second.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the tensor of a normal draw unchanged."""
        kwargs = kwargs or {}
        if func in (nn.init.normal_, torch.Tensor.normal_):
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.device.type == "meta":
                return tensor
        return func(*args, **kwargs)


class _Limited(TorchFunctionMode):
    """Allows a number of calls of torch."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count a call."""
        self._left -= 1
        if self._left < 0:
            raise _TooLargeError
        return func(*args, **(kwargs or {}))


def require_tensors_of(make: Callable[[], nn.Module], weights: Mapping[str, Tensor], *, origin: str) -> None:
    """Check that the tensors of a file are those of its configuration, in little memory and time.

    Args:
        make: Builds the model that the configuration describes.
        weights: Tensors of the file, by sori's names; only names, shapes and types are used.
        origin: Name of the file, for the error message.

    Raises:
        ValueError: The configuration describes another or no model.
    """
    try:
        with torch.device("meta"), WithoutDraws(), _Limited(_CALLS_OF_PARTS + _CALLS_PER_TENSOR * len(weights)):
            wanted = make().state_dict()
    except _TooLargeError:
        raise ValueError(
            f"{origin}: the configuration describes a model with many more tensors than the {len(weights)} of the "
            "file; likely it belongs to another file, or was made to take all memory. Get both from the same source"
        ) from None
    except _UNBUILDABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ValueError(
            f"{origin}: the configuration describes no model that can be built ({reason}); likely it was changed by "
            "hand or is damaged: copy the model again"
        ) from None
    require_equal(weights, wanted, origin=origin)
