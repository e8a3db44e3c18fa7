"""The Surveyor that needs nothing but numpy."""

from weighbridge.adapters.numpy_survey.surveyor import NumpySurveyor

__all__ = ["NumpySurveyor"]
