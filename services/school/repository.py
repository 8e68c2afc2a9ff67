"""The repository of schools."""

from __future__ import annotations

from services.mongo.client import Database
from services.mongo.repository import MongoRepository, Repository
from services.school.schemas import UNIQUE


def school_repository(database: Database) -> Repository:
    """Schools in MongoDB, unique by UNIQUE."""
    return MongoRepository(database, "schools", UNIQUE)
