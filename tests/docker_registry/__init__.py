"""Debian's docker-registry for tests: a real OCI registry, with or without logins."""

from tests.docker_registry.server import DockerRegistry, Guard

__all__ = ["DockerRegistry", "Guard"]
