"""Makes the tensors of a checkpoint with numpy: merging, dequantising, restoring."""

from weighbridge.adapters.numpy_weights.maker import NumpyWeightMaker

__all__ = ["NumpyWeightMaker"]
