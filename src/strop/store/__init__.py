"""All SQL. SQLite by default, PostgreSQL by URL; every row belongs to a project."""

from __future__ import annotations

from strop.store.database import Database, open_database

__all__ = ["Database", "open_database"]
