"""Where a module of MLX's tree is in the checkpoint that transformers loads: the answers.

Two names are given for most things. ``path`` is what transformers 5 calls a module at run time, to
which PEFT binds. ``checkpoint`` is its name in transformers 4 and, for nearly all architectures,
in the published files: what older PEFT and the servers read. Published files of a few (GPT-2) leave
the base model's prefix out (``h.0`` for ``transformer.h.0``), so a lookup in tensor headers has to
try a name without its first part as well.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from attrs import frozen


class Part(Enum):
    """Which expert matrix; gate and up are the halves of transformers' ``gate_up_proj``."""

    GATE = "gate"
    UP = "up"
    DOWN = "down"


@frozen
class Plain:
    """One module, one module. ``path`` is what transformers 5 calls it (without ``.weight``);
    ``checkpoint`` is its name in published checkpoints and in transformers 4.

    ``parameter`` says that it is no ``nn.Linear`` in transformers 5 but holds its weight itself, as
    the routers do: PEFT then has to be told of ``<path>.weight`` in ``target_parameters``.
    """

    path: str
    checkpoint: str
    parameter: bool = False


@frozen
class Rows:
    """The module's output is rows of a larger module: part ``index`` of ``count`` equal parts.

    ``path`` and ``checkpoint`` are that larger module's; but if checkpoints keep the parts
    ``apart``, ``checkpoint`` is the part's own.
    """

    path: str
    checkpoint: str
    index: int
    count: int
    apart: bool = False


@frozen
class Experts:
    """A stack of matrices, one per expert.

    ``container`` is the module that holds the stacked parameters ``gate_up_proj`` (gate's rows
    first) and ``down_proj`` in transformers 5. It is empty if the experts are modules of their own
    there too, as in models whose code comes with the checkpoint.

    ``checkpoint`` is the name of one expert's module, with ``{}`` for its number. It is empty if no
    published checkpoint keeps the experts apart: then only the stacked form exists.
    """

    container: str
    checkpoint: str
    part: Part

    def each(self, expert: int) -> str:
        """The checkpoint's name of one expert's module."""
        return self.checkpoint.replace("{}", str(expert))


@frozen
class Impossible:
    """No exact form exists. ``reason`` begins with a verb that follows the module's name."""

    reason: str


Place: TypeAlias = Plain | Rows | Experts | Impossible


class Layout(Enum):
    """What mlx-lm did to a tensor's values when it loaded a checkpoint, to be undone."""

    SAME = "same"
    #: A convolution's (channels, width, 1) is (channels, 1, width) in the checkpoint.
    CONVOLUTION = "convolution"
    #: A norm's weight is stored one larger in MLX.
    MINUS_ONE = "minus one"
    #: The last two axes are exchanged: (out, in) is (in, out) in the checkpoint.
    TRANSPOSED = "transposed"
    #: A scalar, which is an array of one in the checkpoint.
    ONE = "array of one"
    #: Parts of latent attention's ``kv_b_proj``, (heads x (a + b), rank). Part 0 is (heads, rank,
    #: a), to be transposed to (heads, a, rank); part 1 is (heads, b, rank). They are joined head by
    #: head along axis 1, and then the first two axes are made one.
    LATENT = "latent"


@frozen
class Stored:
    """The checkpoint's name of a whole tensor; with ``{}`` for the expert if MLX stacked them.

    If ``count`` is not 1 the tensor is part ``index`` of so many: joined along the rows (axis -2)
    before ``layout`` is undone.
    """

    name: str
    layout: Layout = Layout.SAME
    index: int = 0
    count: int = 1
