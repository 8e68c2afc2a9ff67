"""Which records a user may read and change."""

from __future__ import annotations

from quart import g

from protocols.identity import ADMIN, Identity
from services.mongo.ownership import OwnedBy


def requester() -> Identity:
    """The identity of the current request, which `require_token` has set."""
    identity: Identity = g.identity
    return identity


def readable(identity: Identity) -> OwnedBy | None:
    """Limits reading to the user's own records and those without an owner, where not all may read all.

    None: no limit, for an admin.
    """
    return None if identity.role == ADMIN else OwnedBy(identity.user_id, or_unowned=True)


def changeable(identity: Identity) -> OwnedBy | None:
    """The records that a user may change and delete: their own. None: all, for an admin."""
    return None if identity.role == ADMIN else OwnedBy(identity.user_id)
