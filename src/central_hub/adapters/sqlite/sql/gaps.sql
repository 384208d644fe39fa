-- name: gaps
-- Schema version 3. Runs of records that left a domain before those ahead of them did, so that its chain still verifies.
CREATE TABLE gaps (
  domain    TEXT    NOT NULL,
  first_seq INTEGER NOT NULL,
  last_seq  INTEGER NOT NULL,
  prev_hash BLOB    NOT NULL,
  hash      BLOB    NOT NULL,
  PRIMARY KEY (domain, first_seq)
) WITHOUT ROWID;
