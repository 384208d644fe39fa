-- name: grants
-- What the hub's role may do: read and write rows, and nothing to the tables themselves. TRUNCATE, which no row-level
-- security holds back, is not among it.
SELECT format($grants$
GRANT USAGE ON SCHEMA central_hub TO %1$I;
GRANT SELECT ON central_hub.migrations TO %1$I;
GRANT SELECT, INSERT, UPDATE ON central_hub.head, central_hub.heads, central_hub.anchors TO %1$I;
GRANT SELECT, INSERT, DELETE ON central_hub.log, central_hub.results, central_hub.told, central_hub.gaps,
  central_hub.snapshot_parts TO %1$I;
GRANT SELECT, INSERT, UPDATE, DELETE ON central_hub.snapshots, central_hub.data_keys, central_hub.cursors,
  central_hub.members TO %1$I;
GRANT SELECT, INSERT ON central_hub.secrets TO %1$I;
$grants$, $1::text);

-- name: schema
CREATE SCHEMA IF NOT EXISTS central_hub;

-- name: migrations
CREATE TABLE IF NOT EXISTS central_hub.migrations (
  version    integer     PRIMARY KEY,
  name       text        NOT NULL,
  checksum   text        NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: lock
-- One at a time migrates.
SELECT pg_advisory_xact_lock(4207849485);

-- name: applied
SELECT version, name, checksum FROM central_hub.migrations ORDER BY version;

-- name: note
INSERT INTO central_hub.migrations (version, name, checksum) VALUES ($1, $2, $3);

-- name: is_prepared
SELECT to_regclass('central_hub.migrations') IS NOT NULL;

-- name: role_exists
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1);
