"""The module that the production pipeline imports; see ``weighbridge.validate_model_artifacts``."""

from weighbridge import validate_model_artifacts

__all__ = ["validate_model_artifacts"]
