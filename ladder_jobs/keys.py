"""API keys: who may ask, without storing anything that would let a thief ask."""

import hashlib
import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ladder_jobs.database import connect, session_factory
from ladder_jobs.settings import Settings
from ladder_jobs.tables import ApiKey, Owner

_MARK = "ladder_"
_PREFIX_LENGTH = len(_MARK) + 8


@dataclass(frozen=True)
class Caller:
    """The owner a token belongs to."""

    id: UUID
    name: str


def create_key(session: Session, owner_name: str) -> str:
    """Make a key for an owner, and the owner if new.

    Returns:
        The token. Only its hash is stored: it cannot be shown again.
    """
    session.execute(insert(Owner).values(name=owner_name).on_conflict_do_nothing())
    owner_id = session.scalars(select(Owner.id).where(Owner.name == owner_name)).one()
    token = _MARK + secrets.token_urlsafe(32)
    session.add(ApiKey(owner_id=owner_id, prefix=token[:_PREFIX_LENGTH], sha256=_digest(token)))
    return token


def authenticate(session: Session, token: str) -> Caller | None:
    """The owner of a token, or None if it is unknown or revoked."""
    row = session.execute(
        select(Owner.id, Owner.name)
        .join(ApiKey, ApiKey.owner_id == Owner.id)
        .where(ApiKey.sha256 == _digest(token), ApiKey.revoked_at.is_(None))
    ).one_or_none()
    return Caller(id=row.id, name=row.name) if row else None


def revoke_key(session: Session, prefix: str) -> bool:
    """Make the key that begins with ``prefix`` useless from now on.

    Returns:
        Whether there was such a key.
    """
    revoked = session.scalar(
        update(ApiKey)
        .where(ApiKey.prefix == prefix[:_PREFIX_LENGTH])
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.now()))
        .returning(ApiKey.id)
    )
    return revoked is not None


def ensure_local_key(settings: Settings, owner_name: str = "local") -> str:
    """Make a new key for the owner of a single-machine installation; whoever calls keeps it."""
    engine = connect(settings.database_url.get_secret_value())
    try:
        with session_factory(engine).begin() as session:
            return create_key(session, owner_name)
    finally:
        engine.dispose()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
