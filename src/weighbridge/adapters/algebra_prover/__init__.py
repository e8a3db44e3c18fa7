"""The algebra level of a proof, obtained with numpy from the files as they were written."""

from weighbridge.adapters.algebra_prover.prover import AlgebraProver

__all__ = ["AlgebraProver"]
