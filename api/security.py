"""Who is asking: a bearer token belongs to an owner, and an owner sees only what is its own."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import Unauthorized
from api.services import Use
from ladder_jobs import keys
from ladder_jobs.keys import Caller

_bearer = HTTPBearer(
    auto_error=False, scheme_name="API key", description="`Authorization: Bearer <key>`, from `create-key`."
)


def _authenticate(
    services: Use, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    if credentials is None:
        raise Unauthorized("Send your API key as `Authorization: Bearer <key>`.")
    with services.sessions() as session:
        caller = keys.authenticate(session, credentials.credentials)
    if caller is None:
        raise Unauthorized("This API key is unknown or revoked.")
    return caller


Authenticated = Annotated[Caller, Depends(_authenticate)]
"""What a route asks for to know who is asking, and to refuse everybody else."""
