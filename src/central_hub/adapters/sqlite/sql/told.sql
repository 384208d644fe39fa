-- name: told
-- Schema version 2. Names of records that are written once: what was told under one is not told again.
CREATE TABLE told (
  domain  TEXT    NOT NULL,
  name    TEXT    NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (domain, name)
) WITHOUT ROWID;
CREATE INDEX told_time ON told (time_ms);
