"""The server's paths."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from skyeye import __version__
from skyeye.serve.api.chat import CLIENT_LEFT, complete
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.service import Service

_log = logging.getLogger("skyeye.serve")


def build_app(service: Service) -> FastAPI:
    """The application of a model; its worker runs as long as the application does."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        yield
        await asyncio.to_thread(service.worker.stop)
        service.threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="skyeye", lifespan=running, docs_url=None, redoc_url=None, openapi_url=None)
    _add_chat(app, service)
    _add_models(app, service)
    _add_state(app, service)
    _add_errors(app)
    return app


def _add_chat(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        try:
            response = await complete(service, request)
        except ApiError as error:
            service.metrics.requests.labels(str(error.status)).inc()
            raise
        except ClientDisconnect:
            response = Response(status_code=CLIENT_LEFT)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return response  # counted at its end
        service.metrics.requests.labels(str(response.status_code)).inc()
        return response


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        service.authorise(request.headers.get("authorization"))
        return {"object": "list", "data": [_model(service)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str, request: Request) -> dict[str, Any]:
        service.authorise(request.headers.get("authorization"))
        if name != service.name:
            raise ApiError(f"the model {name!r} is not here", status=404, param="model", code="model_not_found")
        return _model(service)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> Response:
        return Response(status_code=200 if service.worker.alive else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.name,
        "object": "model",
        "created": service.created,
        "owned_by": "skyeye",
        "root": service.name,
        "parent": None,
        "max_model_len": service.max_model_len,
        "permission": [],
    }


def _add_errors(app: FastAPI) -> None:
    """Whatever goes wrong is answered by an error object."""

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        return JSONResponse(error.body, status_code=error.status, headers=error.headers)

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(ApiError(str(error.detail), status=error.status_code).body, status_code=error.status_code)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        _log.exception("a request failed", exc_info=error)
        return JSONResponse(ApiError("the server failed; its log says why", status=500).body, status_code=500)
