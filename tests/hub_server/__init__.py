"""A local Hugging Face Hub for tests, driven by the real ``huggingface_hub`` client.

Decides what the tests may rely on: the names exported here. The repositories behind the HTTP
endpoints are real bare git repositories with git-lfs objects, so Debian's ``git`` and
``git lfs fsck`` can be called as witnesses of what was published.
"""

from tests.hub_server.client import ClientError, HubClient
from tests.hub_server.clone import WitnessError, clone_with_lfs
from tests.hub_server.faults import Fault, Injection
from tests.hub_server.server import HubServer
from tests.hub_server.transport import LogEntry

__all__ = [
    "ClientError",
    "Fault",
    "HubClient",
    "HubServer",
    "Injection",
    "LogEntry",
    "WitnessError",
    "clone_with_lfs",
]
