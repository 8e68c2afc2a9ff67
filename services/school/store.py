"""Where schools are kept: records with ids from 1 up, unique as the rules say."""

from __future__ import annotations

from services.database import Database
from services.records import MongoRecords, Records
from services.school.rules import UNIQUE

Store = Records


def mongo_store(database: Database) -> Store:
    """Schools in MongoDB."""
    return MongoRecords(database, "schools", UNIQUE)
