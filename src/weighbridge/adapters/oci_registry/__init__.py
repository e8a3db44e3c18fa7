"""Publishing to and reading from OCI registries, as CNCF ModelPack artifacts."""

from weighbridge.adapters.oci_registry.registry import OciRegistry

__all__ = ["OciRegistry"]
