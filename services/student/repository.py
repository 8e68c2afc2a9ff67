"""Where students are kept: records with ids from 1 up, unique as the rules say."""

from __future__ import annotations

from services.mongo.client import Database
from services.mongo.repository import MongoRecords, Repository
from services.student.schemas import UNIQUE

Store = Repository


def mongo_store(database: Database) -> Store:
    """Students in MongoDB."""
    return MongoRecords(database, "students", UNIQUE, sorted_by=["school_id"])
