"""The web doors as a FastAPI router: `app.include_router(mina_router(pipeline, principal=…, authorize=…))`."""

from __future__ import annotations

from mina_pipeline import MissingExtra, Pipeline

try:
    from fastapi import APIRouter
except ImportError:
    raise MissingExtra("mina_adapters.fastapi", "fastapi") from None

from starlette.responses import Response

from .starlette import AsgiDoors, GetLeave, GetPrincipal
from .web.routes import ROUTES, Route
from .web.settings import WebSettings

__all__ = ["mina_router"]


def mina_router(
    pipeline: Pipeline, *, principal: GetPrincipal, authorize: GetLeave, settings: WebSettings | None = None
) -> APIRouter:
    """The doors as a router; dependencies that `include_router` is given hold for all of them, WebSockets too.

    principal, authorize: as for mina_adapters.starlette.mina_routes.
    """
    doors, router = AsgiDoors(pipeline, principal, authorize, settings), APIRouter(tags=["mina"])
    for route in ROUTES:
        if route.stream == "websocket":
            router.add_api_websocket_route(doors.path(route), doors.socket, name=f"mina_{route.door}")
        else:
            router.add_api_route(
                doors.path(route),
                doors.endpoint(route),
                methods=[route.method],
                name=f"mina_{route.door}",
                summary=route.does,
                operation_id=f"mina_{route.door}",
                response_class=Response,
                openapi_extra={"parameters": parameters(route)},
            )
            if route.method == "GET":  # HEAD too, as in Starlette
                router.add_api_route(
                    doors.path(route), doors.endpoint(route), methods=["HEAD"], include_in_schema=False
                )
    return router


def parameters(route: Route) -> list[dict[str, object]]:
    """The path's ids, for the schema."""
    names = [part[1:-1] for part in route.template.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
