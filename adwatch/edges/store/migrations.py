"""The schema, step by step: a step that has been released never changes."""

from __future__ import annotations

from typing import Final

MIGRATIONS: Final = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE candidates (guid TEXT PRIMARY KEY, dn TEXT NOT NULL, login TEXT NOT NULL,
        created TEXT NOT NULL, claim TEXT NOT NULL, peer TEXT, reason TEXT NOT NULL,
        fault INTEGER NOT NULL);
    CREATE INDEX candidates_claim ON candidates (claim);
    CREATE TABLE served (guid TEXT PRIMARY KEY, claim TEXT NOT NULL UNIQUE, peer TEXT NOT NULL,
        refused TEXT NOT NULL);
    CREATE TABLE holds (guid TEXT PRIMARY KEY, number TEXT NOT NULL, login TEXT NOT NULL,
        reason TEXT NOT NULL, print TEXT NOT NULL, since REAL NOT NULL, verdict TEXT NOT NULL);
    CREATE TABLE losses (guid TEXT PRIMARY KEY, at REAL NOT NULL);
    CREATE TABLE rejections (guid TEXT NOT NULL, output TEXT NOT NULL, dn TEXT NOT NULL,
        login TEXT NOT NULL, number TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (guid, output));
    CREATE TABLE history (id INTEGER PRIMARY KEY, at REAL NOT NULL, what TEXT NOT NULL,
        guid TEXT NOT NULL, number TEXT NOT NULL, login TEXT NOT NULL,
        fields TEXT NOT NULL, reason TEXT NOT NULL);
    CREATE INDEX history_guid ON history (guid);
    CREATE TABLE debts (kind TEXT NOT NULL, subject TEXT NOT NULL, since REAL NOT NULL,
        reason TEXT NOT NULL, PRIMARY KEY (kind, subject));
    """,
    """
    ALTER TABLE candidates ADD COLUMN usn INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE candidates ADD COLUMN expires REAL NOT NULL DEFAULT 0;
    ALTER TABLE candidates ADD COLUMN shown TEXT NOT NULL DEFAULT '';
    ALTER TABLE candidates ADD COLUMN hidden TEXT NOT NULL DEFAULT '';
    CREATE INDEX candidates_expires ON candidates (expires);
    """,
    """
    CREATE TABLE contacts (guid TEXT PRIMARY KEY, shown TEXT NOT NULL);
    """,
    """
    CREATE TABLE incidents (key TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE outbox (id INTEGER PRIMARY KEY, target TEXT NOT NULL, incident TEXT NOT NULL,
        occasion TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL, tries INTEGER NOT NULL,
        due REAL NOT NULL);
    """,
)
