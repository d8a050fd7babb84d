# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportUntypedFunctionDecorator=false
"""Sparse times dense on a CPU, compiled by numba.

A weight lies in compressed rows: `starts` (rows + 1), `columns` and `values`. The inputs lie with
the batch innermost, (columns, batch), so that one weight multiplies a run of neighbours.

The limit: a multiplication of 8 numbers needs one load of 8 inputs, so with two loads a cycle a
weight costs half a cycle for 8 inputs, if the sums stay in registers. numba keeps sums of a small
array in memory (measured: twice the time), so the loop over a row's weights is written out here
in LLVM's own vectors, 8, 16 or 32 inputs at a time. A batch of one has nothing to run along: it
costs a load of weight, index and input each.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LANES = 8
TILE = 16
_FLOAT, _LONG, _INT = ir.FloatType(), ir.IntType(64), ir.IntType(32)


def _compiled(**options: Any) -> Callable[[Any], Any]:
    """`numba.njit` of the function below the wrapper that it has under test."""
    return lambda function: njit(nogil=True, cache=True, **options)(inspect.unwrap(function))


def _row_block(vectors: int) -> Any:
    """A function that sums one row for 8 * `vectors` neighbours of the batch."""
    kind = ir.VectorType(_FLOAT, LANES)
    fast = ("fast",)  # lets the product and the sum become one instruction

    def row_block(typing, columns, values, inputs, outputs, first, last, stride):
        """Sum values[k] * inputs[columns[k]] over first <= k < last into outputs."""
        signature = types.void(*(types.uintp,) * 4, *(types.int64,) * 3)

        def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            column_at, value_at, input_at, output_at, first, last, stride = arguments
            column_at = b.inttoptr(column_at, _INT.as_pointer())
            value_at, input_at, output_at = (
                b.inttoptr(p, _FLOAT.as_pointer()) for p in (value_at, input_at, output_at)
            )
            before = b.block
            loop, after = b.append_basic_block("row"), b.append_basic_block("store")
            zero = ir.Constant(kind, [0.0] * LANES)
            blank = ir.Constant(kind, ir.Undefined)
            b.cbranch(b.icmp_signed("<", first, last), loop, after)

            b.position_at_end(loop)
            k = b.phi(_LONG)
            sums = [b.phi(kind) for _ in range(vectors)]
            column = b.zext(b.load(b.gep(column_at, [k])), _LONG)
            weight = b.insert_element(blank, b.load(b.gep(value_at, [k])), ir.Constant(_INT, 0))
            weight = b.shuffle_vector(
                weight, blank, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES)
            )
            row = b.gep(input_at, [b.mul(column, stride)])
            added: list[Any] = []
            for j, total in enumerate(sums):
                place = b.gep(row, [ir.Constant(_LONG, j * LANES)])
                x = b.load(b.bitcast(place, kind.as_pointer()))
                x.align = 4
                added.append(b.fadd(b.fmul(weight, x, flags=fast), total, flags=fast))
            following = b.add(k, ir.Constant(_LONG, 1))
            k.add_incoming(first, before)
            k.add_incoming(following, loop)
            for total, new in zip(sums, added, strict=True):
                total.add_incoming(zero, before)
                total.add_incoming(new, loop)
            b.cbranch(b.icmp_signed("<", following, last), loop, after)

            b.position_at_end(after)
            finals: list[Any] = []
            for new in added:
                final = b.phi(kind)
                final.add_incoming(zero, before)
                final.add_incoming(new, loop)
                finals.append(final)
            for j, final in enumerate(finals):
                place = b.gep(output_at, [ir.Constant(_LONG, j * LANES)])
                stored = b.store(final, b.bitcast(place, kind.as_pointer()))
                stored.align = 4
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(inspect.unwrap(row_block))


_one, _two, _four = _row_block(1), _row_block(2), _row_block(4)


@_compiled(boundscheck=False)
def turned(x, inputs):
    """Write x, (batch, columns), as inputs, (columns, batch padded to a multiple of 8).

    In tiles of 16 columns, whose rows fill a cache line on either side.
    """
    rows, columns = x.shape
    batch = inputs.shape[1]
    for start in range(0, columns, TILE):
        stop = min(start + TILE, columns)
        for i in range(rows):
            for j in range(start, stop):
                inputs[j, i] = x[i, j]
        for j in range(start, stop):
            for i in range(rows, batch):
                inputs[j, i] = np.float32(0.0)  # what lay there could be NaN


@_compiled(boundscheck=False)
def multiply(starts, columns, values, bias, inputs, outputs, low, high):
    """Write outputs low..high of the layer for a batch.

    Args:
        starts: int64, where each row of weights begins.
        columns: uint32, of each weight.
        values: float32.
        bias: float32, one an output.
        inputs: float32 (columns, batch), the batch a multiple of 8.
        outputs: float32 (batch, rows); as many of the batch as it has are written.
        low: The first row.
        high: After the last row.
    """
    batch = np.int64(inputs.shape[1])
    column_at = np.uintp(columns.ctypes.data)
    value_at = np.uintp(values.ctypes.data)
    tile = np.empty((TILE, batch), np.float32)
    for start in range(low, high, TILE):
        stop = min(start + TILE, high)
        for row in range(start, stop):
            first, last = np.int64(starts[row]), np.int64(starts[row + 1])
            place = np.int64(0)
            while place < batch:
                here = np.uintp(inputs.ctypes.data + 4 * place)
                there = np.uintp(tile.ctypes.data + 4 * ((row - start) * batch + place))
                if place + 32 <= batch:
                    _four(column_at, value_at, here, there, first, last, batch)
                    place += 32
                elif place + 16 <= batch:
                    _two(column_at, value_at, here, there, first, last, batch)
                    place += 16
                else:
                    _one(column_at, value_at, here, there, first, last, batch)
                    place += 8
        for i in range(outputs.shape[0]):
            for row in range(start, stop):
                outputs[i, row] = tile[row - start, i] + bias[row]


@_compiled(boundscheck=False, fastmath=True)
def multiply_one(starts, columns, values, bias, inputs, outputs, low, high):
    """Write outputs low..high of the layer for one input; see `multiply`."""
    # Every index is unsigned: for a signed one numba adds a test for negative places, which made
    # this loop three times slower (0.21 against 0.07 ms for 210,000 weights).
    step = np.uint64(1)
    k = np.uint64(starts[low])
    for row in range(low, high):
        last = np.uint64(starts[row + 1])
        total = np.float32(0.0)
        while k < last:
            total += values[k] * inputs[columns[k]]
            k += step
        outputs[row] = total + bias[row]
