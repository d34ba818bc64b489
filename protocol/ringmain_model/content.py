"""The content of a model file, read before any library opens it: nothing in it that our export does not write.

A small reader of protobuf's wire format, with a table of the fields that it lets pass. It has no recursion: the table is as
deep as a file may be. ONNX Runtime must not be the judge: external data is read and loops are run while it opens a file.
"""

import math
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from ringmain_model.errors import ModelRejectedError

NODES_MAX: Final = 2_000
"""Most nodes of a graph, and most constants; the largest export of the trainer has some 300 of each."""
PARTS_MAX: Final = 4_096
"""Most parts of one kind in anything else: inputs of a node, dimensions, texts of the file."""
ML: Final = "ai.onnx.ml"
OPERATORS: Final = frozenset(
    (
        *((ML, name) for name in ("ArrayFeatureExtractor", "LinearRegressor", "OneHotEncoder", "Scaler")),
        (ML, "TreeEnsembleRegressor"),
        *(("", name) for name in ("Abs", "Add", "AveragePool", "Cast", "Clip", "Concat", "Div", "Equal", "Expand")),
        *(("", name) for name in ("Gather", "Greater", "GreaterOrEqual", "IsNaN", "Less", "LessOrEqual", "MatMul")),
        *(("", name) for name in ("Max", "MaxPool", "Min", "Mod", "Mul", "Or", "Pad", "ReduceMax", "ReduceMin")),
        *(("", name) for name in ("ReduceSum", "Relu", "Reshape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum")),
        *(("", name) for name in ("Transpose", "Unsqueeze", "Where")),
    )
)
"""Domain and name of the operators that the trainer's exports are made of. None of them has a graph inside."""

_VARINT: Final = 0
_BYTES: Final = 2
_FIXED32: Final = 5
_VARINT_BYTES_MAX: Final = 10
_MORE: Final = 0x80
"""The bit of a byte of a varint behind which another follows."""
_NOT_LAST: Final = bytes(range(_MORE, 256))


class _Field(NamedTuple):
    """A field that may be there: its wire type, and how often."""

    wire: int
    most: int = 1
    run: re.Pattern[bytes] | None = None
    """Matches many values of the field at once."""


_ONE, _MANY = _Field(_VARINT), _Field(_VARINT, PARTS_MAX)
_TEXT, _TEXTS = _Field(_BYTES), _Field(_BYTES, PARTS_MAX)
_LIST: Final = 0
"""As many as there are, and none is looked at: the lists of a tree."""
_FLOATS = _Field(_FIXED32, _LIST, re.compile(rb"(?:\x3d.{4}){1,1000}", re.DOTALL))
_INTS = _Field(_VARINT, _LIST, re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f]){1,1000}"))

_FIELDS: Final[dict[str, dict[int, _Field]]] = {
    "model": {
        **dict.fromkeys((1, 5), _ONE),  # IR version, version of the model
        **dict.fromkeys((2, 3, 4, 6), _TEXT),  # producer, its version, domain, description
        7: _TEXT,  # graph
        **dict.fromkeys((8, 14), _TEXTS),  # operator sets, manifest and golden vectors
    },
    "graph": {
        **dict.fromkeys((1, 5), _TEXTS),  # nodes, constants
        **dict.fromkeys((2, 10), _TEXT),  # name, description
        **dict.fromkeys((11, 12, 13), _TEXTS),  # inputs, outputs, values between
    },
    "node": {
        **dict.fromkeys((1, 2, 5), _TEXTS),  # inputs, outputs, attributes
        **dict.fromkeys((3, 4, 6, 7), _TEXT),  # name, operator, description, domain
    },
    "attribute": {
        **dict.fromkeys((1, 4, 13), _TEXT),  # name, text, description
        2: _Field(_FIXED32),
        **dict.fromkeys((3, 20), _ONE),  # whole number, type
        7: _FLOATS,
        8: _INTS,
        9: _Field(_BYTES, _LIST),
    },
    "tensor": {
        1: _MANY,
        2: _ONE,
        **dict.fromkeys((4, 5, 7, 8, 9, 12), _TEXT),  # packed float, int32, int64; name, raw data, description
    },
    "value": dict.fromkeys((1, 2, 3), _TEXT),  # name, type, description
    "type": dict.fromkeys((1, 6), _TEXT),  # tensor type, denotation
    "tensor type": {1: _ONE, 2: _TEXT},  # element type, shape
    "shape": {1: _TEXTS},  # dimensions
    "dimension": {1: _ONE, **dict.fromkeys((2, 3), _TEXT)},
    "operator set": {1: _TEXT, 2: _ONE},
    "text": dict.fromkeys((1, 2), _TEXT),
}

_NAMES: Final[dict[tuple[str, int], str]] = {
    ("model", 20): "training steps",
    ("model", 25): "functions",
    ("graph", 15): "sparse constants",
    ("node", 8): "an overloaded function",
    ("attribute", 5): "a tensor",
    ("attribute", 6): "a graph",
    ("attribute", 10): "tensors",
    ("attribute", 11): "graphs",
    ("attribute", 21): "a reference to an attribute of a function",
    ("attribute", 22): "a sparse tensor",
    ("attribute", 23): "sparse tensors",
    ("tensor", 3): "a segment",
    ("tensor", 13): "external data",
    ("tensor", 14): "a place of its data",
}
"""Names of fields that are refused and that a message should name; others are refused by their number."""

_SIZES: Final = {1: 4, 6: 4, 7: 8}
"""Bytes of an element of float32, int32 and int64: the only types of constants."""
_TYPED: Final = {1: 4, 6: 5, 7: 7}
"""Field of the elements of such a type where they are not raw data."""

_Span = tuple[int, int]
_Parts = dict[int, list[int | _Span]]


def check_content(content: bytes) -> None:
    """Let pass a file of which every part is one that our export writes.

    - Each field is in the table; one that is there once in a right file is there once. So there are no graphs inside nodes
      (Loop, Scan, If), no functions, no sparse or external data, and no two ways to read the file.
    - Each operator is one of `OPERATORS`; there are at most `NODES_MAX` of them, and as many constants.
    - Each constant holds the elements of its shape, in the file itself.

    Raises:
        ModelRejectedError: With the first part that is not.
    """
    file = _File(content)
    model = file.parts("model", (0, len(content)))
    for span in _spans(model, 8):
        domain = file.text(file.parts("operator set", span), 1)
        if domain not in {"", ML}:
            raise _refused(f"operators of the domain {domain[:80]!r}")
    for span in _spans(model, 14):
        file.parts("text", span)
    graphs = _spans(model, 7)
    if len(graphs) != 1:
        raise _refused("no graph")
    _check_graph(file, graphs[0])


def _check_graph(file: "_File", graph_span: _Span) -> None:
    graph = file.parts("graph", graph_span)
    for field, name in ((1, "nodes"), (5, "constants")):
        if len(graph.get(field, ())) > NODES_MAX:
            raise _refused(f"more than {NODES_MAX} {name}")
    for span in _spans(graph, 1):
        _check_node(file, span)
    for span in _spans(graph, 5):
        _check_tensor(file, span)
    for field in (11, 12, 13):
        for span in _spans(graph, field):
            _check_value(file, span)


def _check_node(file: "_File", span: _Span) -> None:
    node = file.parts("node", span)
    domain, name = file.text(node, 7), file.text(node, 4)
    if (domain, name) not in OPERATORS:
        raise _refused(f"the operator {f'{domain}.{name}'.lstrip('.')[:80]!r}")
    for attribute in _spans(node, 5):
        file.parts("attribute", attribute)


def _check_tensor(file: "_File", span: _Span) -> None:
    tensor = file.parts("tensor", span)
    kind = next((value for value in tensor.get(2, ()) if isinstance(value, int)), 0)
    if kind not in _SIZES:
        raise _refused(f"a constant of type {kind}")
    shape = [size for size in tensor.get(1, ()) if isinstance(size, int)]
    if any(size > len(file.content) for size in shape):
        raise _refused(f"a constant of shape {shape[:8]}")
    count = math.prod(shape)
    raw, typed = _spans(tensor, 9), _spans(tensor, _TYPED[kind])
    if raw:
        held = (raw[0][1] - raw[0][0]) / _SIZES[kind]
    elif not typed:
        held = 0
    elif kind == 1:
        held = (typed[0][1] - typed[0][0]) / _SIZES[kind]
    else:
        held = len(file.content[slice(*typed[0])].translate(None, _NOT_LAST))  # the last byte of each varint
    others = [field for field in (*_TYPED.values(), 9) if field in tensor and field != (9 if raw else _TYPED[kind])]
    if held != count or others:
        raise _refused(f"a constant of shape {shape[:8]} that holds {held:g} elements")


def _check_value(file: "_File", span: _Span) -> None:
    for kind in _spans(file.parts("value", span), 2):
        for tensor in _spans(file.parts("type", kind), 1):
            for shape in _spans(file.parts("tensor type", tensor), 2):
                for dimension in _spans(file.parts("shape", shape), 1):
                    file.parts("dimension", dimension)


class _File:
    """The bytes of a file, read in place."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def text(self, parts: _Parts, field: int) -> str:
        """A text, empty if it is not there; bytes that are no UTF-8 are shown as such."""
        return "".join(self.content[slice(*span)].decode("utf-8", "backslashreplace") for span in _spans(parts, field))

    def parts(self, message: str, span: _Span) -> _Parts:
        """The parts of a message by field: whole numbers, and spans of bytes. Values of long lists are left out."""
        allowed, found = _FIELDS[message], dict[int, list[int | _Span]]()
        for number, wire, value in self._fields(message, span):
            field = allowed.get(number)
            if field is None or field.wire != wire:
                raise _refused(f"{message} with {_NAMES.get((message, number), f'field {number} of wire type {wire}')}")
            if field.most is _LIST:
                continue
            values = found.setdefault(number, [])
            values.append(value)
            if len(values) > field.most:
                raise _refused(f"{message} with field {number} more than {field.most} times")
        return found

    def _fields(self, message: str, span: _Span) -> Iterator[tuple[int, int, int | _Span]]:
        """Number, wire type and value of each field."""
        place, end = span
        content, allowed = self.content, _FIELDS[message]
        while place < end:
            key, begin = self._varint(place, end)
            number, wire = key >> 3, key & 7
            value: int | _Span
            if wire == _VARINT:
                value, after = self._varint(begin, end)
            elif wire == _BYTES:
                size, begin = self._varint(begin, end)
                after = begin + size
                value = begin, after
            elif wire == _FIXED32:
                after = begin + 4
                value = begin, after
            else:
                raise _refused(f"{message} with field {number} of wire type {wire}")
            if after > end:
                raise _refused(f"{message} that ends too early")
            field = allowed.get(number)
            run = field.run.match(content, place, end) if field is not None and field.run is not None else None
            after = run.end() if run is not None else after
            yield number, wire, value
            place = after

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        """A whole number of up to ten bytes, and the place behind it."""
        value = 0
        for shift in range(_VARINT_BYTES_MAX):
            if place + shift >= end:
                raise _refused("a number that ends too early")
            byte = self.content[place + shift]
            value |= (byte & 0x7F) << 7 * shift
            if byte < _MORE:
                return value, place + shift + 1
        raise _refused("a number that does not end")


def _spans(parts: _Parts, field: int) -> list[_Span]:
    return [value for value in parts.get(field, ()) if isinstance(value, tuple)]


def _refused(thing: str) -> ModelRejectedError:
    return ModelRejectedError(f"not a model that our export makes: {thing}")
