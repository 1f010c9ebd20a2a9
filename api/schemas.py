"""JSON Schemas of what the service gives out; the same files lie in the package."""

from fastapi import APIRouter, Response

from api.errors import documented
from ladder_schema.report.schema import committed

router = APIRouter(prefix="/schemas", tags=["schemas"], responses=documented())


@router.get(
    "/report.json",
    response_class=Response,
    summary="The JSON Schema of reports",
    responses={200: {"description": "JSON Schema 2020-12", "content": {"application/schema+json": {}}}},
)
async def report_schema() -> Response:
    """What a report of the present version looks like, and what each of its numbers means."""
    return Response(
        committed(), media_type="application/schema+json", headers={"Cache-Control": "public, max-age=3600"}
    )
