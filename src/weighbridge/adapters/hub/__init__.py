"""Publishing to and reading from the Hugging Face Hub, or a server that speaks its protocol."""

from weighbridge.adapters.hub.errors import ParentNotEnforced
from weighbridge.adapters.hub.files import HubFiles
from weighbridge.adapters.hub.registry import HubRegistry

__all__ = ["HubFiles", "HubRegistry", "ParentNotEnforced"]
