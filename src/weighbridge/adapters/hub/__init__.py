"""Publishing to the Hugging Face Hub, or to a server that speaks its protocol."""

from weighbridge.adapters.hub.errors import ParentNotEnforced
from weighbridge.adapters.hub.registry import HubRegistry

__all__ = ["HubRegistry", "ParentNotEnforced"]
