"""Directories on the local disk: scanned and read without following links, made by one rename."""

from weighbridge.adapters.local_files.files import LocalFiles

__all__ = ["LocalFiles"]
