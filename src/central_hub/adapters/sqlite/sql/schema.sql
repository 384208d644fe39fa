-- name: schema
-- The embedded store, schema version 1. Applied once; later versions add files, forward only.

-- One row a setting of the store itself: schema_version, incarnation.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

-- The log. `pos` orders everything; (domain, domain_seq) is what leaves the hub.
CREATE TABLE log (
  pos        INTEGER PRIMARY KEY,
  domain     TEXT    NOT NULL,
  domain_seq INTEGER NOT NULL,
  streams    TEXT    NOT NULL,
  category   TEXT    NOT NULL,
  type       TEXT    NOT NULL,
  schema_rev INTEGER NOT NULL,
  id         TEXT    NOT NULL,
  time_ms    INTEGER NOT NULL,
  actor      BLOB    NOT NULL,
  key_id     TEXT    NOT NULL,
  prev_hash  BLOB    NOT NULL,
  hash       BLOB    NOT NULL,
  data       BLOB    NOT NULL
);
CREATE UNIQUE INDEX log_domain ON log (domain, domain_seq);

-- The end of each domain's chain; the row with an empty domain is the end of the log itself.
CREATE TABLE heads (
  domain     TEXT PRIMARY KEY,
  domain_seq INTEGER NOT NULL,
  hash       BLOB    NOT NULL
) WITHOUT ROWID;

-- Where retention cut a domain: the last record it removed, so that what is left still verifies.
CREATE TABLE anchors (
  domain     TEXT PRIMARY KEY,
  domain_seq INTEGER NOT NULL,
  hash       BLOB    NOT NULL
) WITHOUT ROWID;

-- First results of commands that carried an idempotency key, sealed.
CREATE TABLE results (
  domain  TEXT    NOT NULL,
  source  TEXT    NOT NULL,
  id      TEXT    NOT NULL,
  time_ms INTEGER NOT NULL,
  result  BLOB    NOT NULL,
  PRIMARY KEY (domain, source, id)
) WITHOUT ROWID;
CREATE INDEX results_time ON results (time_ms);

-- Data keys of the domains, wrapped under the master key, which is not in here.
CREATE TABLE data_keys (
  domain  TEXT NOT NULL,
  key_id  TEXT NOT NULL,
  wrapped BLOB NOT NULL,
  PRIMARY KEY (domain, key_id)
) WITHOUT ROWID;
