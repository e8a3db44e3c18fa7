"""Directories on the local disk: scanned and read without following links, made by one rename."""

from weighbridge.adapters.local_files.files import LocalFiles
from weighbridge.adapters.local_files.rooms import scratch_room

__all__ = ["LocalFiles", "scratch_room"]
