"""Proves written checkpoints by computing a sample of them anew."""

from weighbridge.adapters.weight_prover.prover import SamplingProver

__all__ = ["SamplingProver"]
