"""The job routes: each parses, calls one service, and returns."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, BackgroundTasks, Header, Path, Query, Request, Response

from api import errors
from api.errors import documented
from api.intake.multipart import boundary_of
from api.jobs import logs, service
from api.jobs.downloads import Download, prefers_html, serve
from api.jobs.views import EventPage
from api.middleware import request_id
from api.security import Authenticated
from api.services import Use
from ladder_jobs.wakeups import send_wakeup
from ladder_schema.jobs import ArtifactName, JobPage, JobView

router = APIRouter(
    prefix="/jobs", tags=["jobs"], responses=documented(errors.Unauthorized, errors.Unavailable)
)

_Route = TypeVar("_Route", bound=Callable[..., object])

JobId = Annotated[str, Path(description="The job's id.", json_schema_extra={"format": "uuid"})]

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["model", "dataset"],
                    "additionalProperties": False,
                    "properties": {
                        "model": {
                            "type": "string",
                            "format": "binary",
                            "description": "The trained classifier, as TorchScript.",
                        },
                        "dataset": {
                            "type": "string",
                            "format": "binary",
                            "description": "A NumPy archive with x_train, y_train and, if there is a "
                            "test set, x_test, y_test; or image folders in a zip or tar archive; or "
                            "Parquet of encoded images and labels.",
                        },
                        "config": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "JSON: whatever should differ from the defaults. The answer's "
                            "`config` shows every setting.",
                            "examples": ['{"preset": "quick", "threat_model": {"epsilon": 0.1}}'],
                        },
                    },
                }
            }
        },
    }
}
_MAX_ATTEMPT = (1 << 31) - 1
_FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    206: {"description": "The range asked for", "content": _FILE},
    304: {"description": "The caller has it already"},
    **documented(errors.NotFound, errors.Conflict, errors.Gone, errors.RangeNotSatisfiable),
}


def _readable(path: str, **options: Any) -> Callable[[_Route], _Route]:  # noqa: ANN401 - as the router has it
    """A route for GET, which is described, and for HEAD, which answers the same without a body."""

    def register(route: _Route) -> _Route:
        router.head(path, **options, include_in_schema=False)(route)
        return router.get(path, **options)(route)

    return register


@router.post(
    "",
    status_code=202,
    summary="Post a job",
    openapi_extra=_BODY,
    responses=documented(
        errors.BadRequest,
        errors.UploadTimeout,
        errors.TooLarge,
        errors.UnsupportedMediaType,
        errors.Invalid,
    ),
)
async def post_job(
    request: Request,
    response: Response,
    services: Use,
    caller: Authenticated,
    background: BackgroundTasks,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="Any word of yours: posting again with the same one answers with the first job.",
        ),
    ] = None,
) -> JobView:
    """Upload a model and a dataset, and have the model hardened.

    The parts may come in any order. `Location` names the job; ask it for its status.
    """
    job = await service.submit(
        services,
        caller,
        request.stream(),
        boundary_of(request.headers.get("content-type", "")),
        announced=_content_length(request),
        idempotency_key=idempotency_key,
        request_id=request_id(request.scope),
    )
    background.add_task(send_wakeup, services.celery, services.settings.queue)
    response.headers["Location"] = f"/jobs/{job.id}"
    return job


@_readable("", summary="List your jobs", responses=documented(errors.BadRequest, errors.Invalid))
def list_jobs(
    services: Use,
    caller: Authenticated,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs on a page.")] = 20,
    after: Annotated[
        str | None, Query(max_length=200, description="Where to go on; `next` of the page before has it.")
    ] = None,
) -> JobPage:
    """Newest first. Follow `next` for older ones; new jobs never shift a page."""
    return service.page(services, caller, after=after, limit=limit)


@_readable("/{job_id}", summary="Watch a job", responses=documented(errors.NotFound))
def get_job(services: Use, caller: Authenticated, job_id: JobId) -> JobView:
    """Where the job stands, and what it offers for download."""
    return service.get(services, caller, job_id)


@_readable(
    "/{job_id}/events", summary="A job's history", responses=documented(errors.NotFound, errors.Invalid)
)
def list_events(
    services: Use,
    caller: Authenticated,
    job_id: JobId,
    limit: Annotated[int, Query(ge=1, le=1000, description="Events on a page.")] = 100,
    after: Annotated[
        int, Query(ge=0, lt=2**63, description="Where to go on; `next` of the page before has it.")
    ] = 0,
) -> EventPage:
    """What happened to the job so far, oldest first. Follow `next` for what came later."""
    return service.events(services, caller, job_id, after=after, limit=limit)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    summary="Cancel a job",
    responses=documented(errors.NotFound, errors.Conflict),
)
def cancel_job(services: Use, caller: Authenticated, job_id: JobId) -> JobView:
    """A queued job is cancelled at once, a running one within seconds; it never succeeds afterwards."""
    return service.cancel(services, caller, job_id)


@router.delete(
    "/{job_id}",
    status_code=204,
    summary="Delete a job",
    responses=documented(errors.NotFound, errors.Conflict),
)
def delete_job(services: Use, caller: Authenticated, job_id: JobId) -> None:
    """Remove a job that has ended with all there is of it: history, results, uploads."""
    service.delete(services, caller, job_id)


@_readable(
    "/{job_id}/model",
    response_class=Response,
    summary="Download the hardened model",
    responses={200: {"description": "TorchScript, called as the upload was", "content": _FILE}, **_DOWNLOAD},
)
def get_model(request: Request, services: Use, caller: Authenticated, job_id: JobId) -> Response:
    """The uploaded program with hardened parameters."""
    found = service.artifact(services, caller, job_id, ArtifactName.MODEL)
    return serve(request, services.store, Download.of_artifact(found))


@_readable(
    "/{job_id}/weights",
    response_class=Response,
    summary="Download the hardened weights",
    responses={
        200: {"description": "safetensors, with the upload's parameter names", "content": _FILE},
        **_DOWNLOAD,
    },
)
def get_weights(request: Request, services: Use, caller: Authenticated, job_id: JobId) -> Response:
    """The hardened parameters alone."""
    found = service.artifact(services, caller, job_id, ArtifactName.WEIGHTS)
    return serve(request, services.store, Download.of_artifact(found))


@_readable(
    "/{job_id}/examples",
    response_class=Response,
    summary="Download adversarial examples",
    responses={
        200: {
            "description": "A zip archive of image pairs, an index and the arrays",
            "content": {"application/zip": _FILE["application/octet-stream"]},
        },
        **_DOWNLOAD,
    },
)
def get_examples(request: Request, services: Use, caller: Authenticated, job_id: JobId) -> Response:
    """Originals beside what LADDER made of them."""
    found = service.artifact(services, caller, job_id, ArtifactName.EXAMPLES)
    return serve(request, services.store, Download.of_artifact(found))


@_readable(
    "/{job_id}/report",
    response_class=Response,
    summary="Read the robustness report",
    responses={
        200: {
            "description": "The report: JSON, or HTML where `Accept` would rather have it",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Report"}},
                "text/html": {},
            },
        },
        **_DOWNLOAD,
    },
)
def get_report(request: Request, services: Use, caller: Authenticated, job_id: JobId) -> Response:
    """What was measured before and after, and what it means."""
    html = prefers_html(request.headers.get("accept", ""))
    name = ArtifactName.REPORT_HTML if html else ArtifactName.REPORT
    found = service.artifact(services, caller, job_id, name)
    return serve(request, services.store, Download.of_artifact(found, vary="Accept"))


@_readable(
    "/{job_id}/report.html",
    response_class=Response,
    summary="Read the robustness report as a page",
    responses={200: {"description": "One page", "content": {"text/html": {}}}, **_DOWNLOAD},
)
def get_report_page(request: Request, services: Use, caller: Authenticated, job_id: JobId) -> Response:
    """The report for people."""
    found = service.artifact(services, caller, job_id, ArtifactName.REPORT_HTML)
    return serve(request, services.store, Download.of_artifact(found))


@_readable(
    "/{job_id}/report.pdf",
    response_class=Response,
    summary="Read the robustness report on paper",
    responses={
        200: {"description": "A PDF", "content": {"application/pdf": _FILE["application/octet-stream"]}},
        **_DOWNLOAD,
    },
)
def get_report_pdf(request: Request, services: Use, caller: Authenticated, job_id: JobId) -> Response:
    """The report for print."""
    found = service.artifact(services, caller, job_id, ArtifactName.REPORT_PDF)
    return serve(request, services.store, Download.of_artifact(found))


@_readable(
    "/{job_id}/model-card",
    response_class=Response,
    summary="Download the model card",
    responses={
        200: {
            "description": "Markdown with the Hugging Face Hub's metadata",
            "content": {"text/markdown": {}},
        },
        **_DOWNLOAD,
    },
)
def get_model_card(request: Request, services: Use, caller: Authenticated, job_id: JobId) -> Response:
    """What to lay beside the hardened model, as its `README.md`."""
    found = service.artifact(services, caller, job_id, ArtifactName.MODEL_CARD)
    return serve(request, services.store, Download.of_artifact(found))


@_readable(
    "/{job_id}/log",
    response_class=Response,
    summary="Read a job's log",
    responses={200: logs.ANSWER, **_DOWNLOAD, **documented(errors.Invalid)},
)
def get_log(
    request: Request,
    services: Use,
    caller: Authenticated,
    job_id: JobId,
    attempt: Annotated[
        int | None, Query(ge=1, le=_MAX_ATTEMPT, description="Which attempt; by default the latest.")
    ] = None,
    follow: Annotated[
        bool, Query(description="Go on until the job ends, through all attempts that come.")
    ] = False,
    skip: Annotated[
        int, Query(ge=0, description="With `follow`: how many bytes to leave out, to go on after a break.")
    ] = 0,
) -> Response:
    """As far as it is written. While an attempt runs, about the first mebibyte can be read."""
    found = logs.find(services, caller, job_id, attempt)
    if follow and request.method == "GET":
        return logs.follow(services, caller, found, skip=skip)
    return logs.answer(request, services, found)


def _content_length(request: Request) -> int | None:
    value = request.headers.get("content-length", "")
    return int(value) if value.isdecimal() else None
