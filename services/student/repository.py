"""The repository of students."""

from __future__ import annotations

from services.mongo.client import Database
from services.mongo.repository import MongoRepository, Repository
from services.student.schemas import UNIQUE


def student_repository(database: Database) -> Repository:
    """Students in MongoDB, unique by UNIQUE."""
    return MongoRepository(database, "students", UNIQUE, sorted_by=["school_id"], pages_by_owner=True)
