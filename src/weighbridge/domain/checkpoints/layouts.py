"""The shapes that tensors of an MLX model have in the checkpoint: joined, then laid out.

What becomes of their values is for ``restoration`` and ``patches`` to say.
"""

from __future__ import annotations

from weighbridge.domain.placement import Architecture, Layout, Stored


def joined_shape(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Of ``count`` tensors of that shape, joined along the rows; of vectors, along their only
    axis."""
    if len(shape) < 2:
        return tuple(size * count for size in shape)
    return (*shape[:-2], shape[-2] * count, shape[-1])


def stored_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...] | None:
    """The shape in the checkpoint; None if a tensor of that shape cannot have that layout.

    A convolution must be of one channel each, or its values would have to move. LATENT is not
    answered here, since it takes two tensors.
    """
    match layout:
        case Layout.SAME | Layout.MINUS_ONE:
            return shape
        case Layout.CONVOLUTION:
            return (shape[0], 1, shape[1]) if len(shape) == 3 and shape[2] == 1 else None
        case Layout.TRANSPOSED:
            return (*shape[:-2], shape[-1], shape[-2]) if len(shape) >= 2 else None
        case Layout.ONE:
            return (1,) if shape == () else None
        case Layout.LATENT:
            return None


def keeps(architecture: Architecture, name: str) -> bool:
    """True if mlx-lm changes neither the name nor the values of that tensor, as far as is known."""
    return architecture.restore(name) == Stored(name)
