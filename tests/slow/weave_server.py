"""Weave's own trace server on SQLite: the wheel's routes, run as `python weave_server.py PORT FILE`.

Runs in the environment of weave[trace-server]==0.52.22, not in strop's. Two things are added, as W&B's own
service adds them: the protobuf route for OTLP, and JSON lines for what the routes stream.
"""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from weave.trace_server import trace_server_interface as tsi
from weave.trace_server.errors import InvalidRequest, NotFoundError
from weave.trace_server.external_to_internal_trace_server_adapter import ExternalTraceServer, IdConverter
from weave.trace_server.reference.generate import (
    AuthParams,
    NoopTraceService,
    ServiceDependency,
    generate_routes,
)
from weave.trace_server.sqlite_trace_server import SqliteTraceServer


class Ids(IdConverter):
    """Inside, a project goes by another id than outside; users and runs don't."""

    def ext_to_int_project_id(self, project_id: str) -> str:
        return b64encode(project_id.encode()).decode()

    def int_to_ext_project_id(self, project_id: str) -> str:
        return b64decode(project_id).decode()

    def ext_to_int_user_id(self, user_id: str) -> str:
        return user_id

    int_to_ext_user_id = ext_to_int_run_id = int_to_ext_run_id = ext_to_int_user_id


class Server(ExternalTraceServer):
    def calls_query_stream(self, req: tsi.CallsQueryReq) -> Iterator[Any]:
        for call in super().calls_query_stream(req):
            yield call.model_dump_json() + "\n"


def checked(credentials: HTTPBasicCredentials = Depends(HTTPBasic())) -> AuthParams:  # noqa: B008
    if (credentials.username, credentials.password) != ("api", "local-key"):
        raise HTTPException(401)
    return AuthParams(auth=(credentials.username, credentials.password))


def app(path: str) -> FastAPI:
    store = SqliteTraceServer(path)
    store.setup_tables()
    service = NoopTraceService()
    service.trace_server_interface = Server(store, Ids())
    application = FastAPI()
    dependency = ServiceDependency(lambda _: service, checked)
    application.include_router(generate_routes(APIRouter(), dependency))

    @application.post("/otel/v1/traces")
    async def traces(request: Request) -> dict[str, Any]:
        export = ExportTraceServiceRequest.FromString(await request.body())
        asked = tsi.OtelExportReq(project_id=request.headers["project_id"], traces=export, wb_user_id="u1")
        return service.trace_server_interface.otel_export(asked).model_dump()

    @application.exception_handler(NotFoundError)
    @application.exception_handler(InvalidRequest)
    def refused(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"reason": str(error)}, 404 if isinstance(error, NotFoundError) else 400)

    return application


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
