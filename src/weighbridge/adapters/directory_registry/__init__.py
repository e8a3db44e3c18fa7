"""Publishing into a directory that every Hugging Face loader reads: the Hub's cache layout."""

from weighbridge.adapters.directory_registry.registry import DirectoryRegistry

__all__ = ["DirectoryRegistry"]
