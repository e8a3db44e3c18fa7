"""From a request to the handler that answers it.

Decides how paths are matched (still quoted, so that ``refs%2Fpr%2F1`` stays one segment) and
that every failure of a handler becomes an answer.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from tests.hub_server.errors import ApiError, StorageError, as_api_error
from tests.hub_server.hub import Hub
from tests.hub_server.messages import Request, Response, error_response

Handler = Callable[[Hub, Request], Response]

_KIND = "(?P<kind>models|datasets|spaces)"
_SITE = "(?:(?P<kind>datasets|spaces)/)?(?!api/)"
_PART = re.compile(r"\{(\w+)(\*?)\}")
API = "/api/{kind}/{ns}/{name}"
SITE = "/{site}{ns}/{name}"


@dataclass(frozen=True)
class Route:
    """A method and a path pattern with the handler for them."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler


def route(method: str, path: str, handler: Handler) -> Route:
    """A route; ``{x}`` is one segment of the path, ``{x*}`` any number of them."""
    return Route(method, re.compile(_PART.sub(_group, path)), handler)


def _group(part: re.Match[str]) -> str:
    """The expression for one named part of a path."""
    name, many = part.groups()
    special = {"kind": _KIND, "site": _SITE}
    return special.get(name) or f"(?P<{name}>{'.+' if many else '[^/]+'})"


class Router:
    """All routes of the server."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)

    def answer(self, hub: Hub, request: Request) -> Response:
        """Carry out a request; whatever happens, there is an answer."""
        try:
            return self._find(request)(hub, request)
        except ApiError as error:
            return error_response(error)
        except StorageError as error:
            return error_response(as_api_error(error))
        except Exception:
            return error_response(ApiError(500, traceback.format_exc(limit=-4)))

    def _find(self, request: Request) -> Handler:
        """The handler for a request, after its path was taken apart."""
        method = "GET" if request.method == "HEAD" else request.method
        for each in self._routes:
            match = each.pattern.fullmatch(request.path) if each.method == method else None
            if match:
                parts = match.groupdict().items()
                request.args = {name: unquote(value) for name, value in parts if value}
                return each.handler
        raise ApiError(404, f"No such endpoint: {request.method} {request.path}")
