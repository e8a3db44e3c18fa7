"""Trusted publishing: the workflows that repositories trust, and the CI that vouches for a job.

Decides what an identity token says and for how long a token that is given for one is good. Both
sides of the exchange are here, because a test has no other CI.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field

from tests.hub_server.errors import ApiError


def _part(value: object) -> str:
    """One part of a JSON web token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@dataclass
class TrustedPublishers:
    """Jobs by the secret with which they ask their CI for an identity token, and what trusts them.

    ``lifetime`` is of the Hub's tokens, in seconds.
    """

    lifetime: int = 3600
    jobs: dict[str, str] = field(default_factory=dict)
    trusted: dict[str, str] = field(default_factory=dict)
    issued: dict[str, tuple[str, str]] = field(default_factory=dict)

    def job(self, workflow: str) -> str:
        """The secret of a new job of a workflow."""
        secret = f"eyJ{secrets.token_hex(12)}.eyJ{secrets.token_hex(12)}.{secrets.token_hex(12)}"
        self.jobs[secret] = workflow
        return secret

    def vouch(self, secret: str, audience: str) -> str:
        """The CI's word for a job, for that audience."""
        workflow = self.jobs.get(secret)
        if workflow is None:
            raise ApiError(401, "unknown job")
        claims = {"iss": "https://ci.test", "sub": workflow, "aud": audience}
        token = f"{_part({'alg': 'none'})}.{_part(claims)}.{secrets.token_urlsafe(16)}"
        self.issued[token] = (workflow, audience)
        return token

    def accept(self, token: str, resource: str, audience: str) -> str:
        """The workflow, if the resource trusts it and the token was made for this Hub."""
        workflow, wanted = self.issued.get(token, ("", ""))
        if not workflow or wanted != audience:
            raise _refused("invalid_grant", f"the identity token is not for {audience}")
        if self.trusted.get(resource) != workflow:
            raise _refused("invalid_target", f"{workflow} is no trusted publisher of {resource}")
        return workflow


def _refused(error: str, description: str) -> ApiError:
    """A refusal in OAuth's words."""
    return ApiError(400, error, extra={"error_description": description})
