"""Vectors of sixteen float32 numbers as single values inside compiled code.

numba does not always turn loops into vector instructions; code written with these functions always becomes AVX-512,
AVX2, SSE or NEON, whichever the machine has, with the same order of additions on all of them. Positions are addresses
in bytes.

Single numbers are also read by address (`int32_at` etc.): an array that is taken out of a tuple, or passed in one, is
reference-counted atomically, which took as long as the arithmetic.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

LANES = 16
"""Numbers in one vector; 64 bytes, one cache line."""
LANE_BYTES = 4 * LANES

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INDEX = ir.IntType(32)


class LanesType(types.Type):
    """numba type of such a vector."""

    def __init__(self) -> None:
        super().__init__(name="Lanes16")


LANES_TYPE = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)  # type: ignore[no-untyped-call]


def _splat(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, _INDEX(0))
    mask = ir.Constant(ir.VectorType(_INDEX, LANES), [_INDEX(0)] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), mask)


def _at(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _VECTOR.as_pointer())


def _reader(number: Any) -> Any:
    @intrinsic
    def read(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - numba's interface
        """Return the number at an address."""

        def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
            return builder.load(builder.inttoptr(args[0], context.get_value_type(number).as_pointer()))

        return number(types.int64), make

    return read


def _writer(number: Any) -> Any:
    @intrinsic
    def write(typingctx: Any, address: Any, value: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - likewise
        """Write a number to an address."""

        def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
            builder.store(args[1], builder.inttoptr(args[0], args[1].type.as_pointer()))
            return context.get_dummy_value()

        return types.void(types.int64, number), make

    return write


int32_at, int64_at, uint32_at = _reader(types.int32), _reader(types.int64), _reader(types.uint32)
uint8_at, float_at = _reader(types.uint8), _reader(types.float32)
put_int64, put_float = _writer(types.int64), _writer(types.float32)


@intrinsic
def load(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - numba's interface
    """Return the sixteen numbers at an address."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
        return builder.load(_at(builder, args[0]), align=4)

    return LANES_TYPE(types.int64), make


@intrinsic
def store(typingctx: Any, address: Any, value: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - likewise
    """Write sixteen numbers to an address."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
        builder.store(args[1], _at(builder, args[0]), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, LANES_TYPE), make


@intrinsic
def zeros(typingctx: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - likewise
    """Return sixteen zeros."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
        return ir.Constant(_VECTOR, [0.0] * LANES)

    return LANES_TYPE(), make


@intrinsic
def splat(typingctx: Any, number: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - likewise
    """Return one number repeated sixteen times."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
        return _splat(builder, args[0])

    return LANES_TYPE(types.float32), make


@intrinsic
def mul_add(typingctx: Any, a: Any, b: Any, c: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - likewise
    """Return `a * b + c`, rounded once where the machine supports it."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return LANES_TYPE(LANES_TYPE, LANES_TYPE, LANES_TYPE), make


@intrinsic
def total(typingctx: Any, value: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - likewise
    """Return the sum of the sixteen numbers, added pairwise by halves."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            kind = ir.VectorType(_INDEX, width)
            low, high = (ir.Constant(kind, [_INDEX(i + n) for i in range(width)]) for n in (0, width))
            undefined = ir.Constant(value.type, ir.Undefined)
            parts = [builder.shuffle_vector(value, undefined, mask) for mask in (low, high)]
            value = builder.fadd(*parts)
        return builder.extract_element(value, _INDEX(0))

    return types.float32(LANES_TYPE), make


@intrinsic
def prefetch(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ARG001 - likewise
    """Prefetch a cache line that will soon be read and written."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001 - likewise
        pointer = builder.inttoptr(args[0], cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, _INDEX, _INDEX, _INDEX])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        builder.call(function, [pointer, _INDEX(1), _INDEX(3), _INDEX(1)])
        return context.get_dummy_value()

    return types.void(types.int64), make
