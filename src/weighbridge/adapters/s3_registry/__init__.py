"""Publishing to and reading from S3 and stores that speak its protocol, as an OCI image layout."""

from weighbridge.adapters.s3_registry.registry import S3Registry

__all__ = ["S3Registry"]
