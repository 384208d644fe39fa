-- name: scope
-- Say whose rows the transaction is about; over with it.
SELECT set_config('hub.domains', $1, true);

-- name: lock_head
-- Wait for the head's row and hold it until the commit. Nothing else is read in this statement: its snapshot may be
-- older than the lock.
SELECT pos, incarnation, set_config('hub.domains', $1, true) FROM central_hub.head FOR UPDATE;

-- name: head
SELECT pos, incarnation, roster FROM central_hub.head;

-- name: tell
-- Hint at a commit, and look at the head as ever.
SELECT pos, incarnation, roster FROM central_hub.head, pg_notify('central_hub', '');

-- name: make_head
INSERT INTO central_hub.head (pos, incarnation, place) VALUES (0, $1, $2) ON CONFLICT (one) DO NOTHING;

-- name: standing
-- Where the log ends, which history it is, where that was last seen, and where it is seen now.
SELECT h.pos, h.incarnation, h.place,
       format('%s/%s/%s', c.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8),
              'central_hub.head'::regclass::oid) AS here
  FROM central_hub.head h, pg_control_system() c;

-- name: here
SELECT format('%s/%s/%s', system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8),
              'central_hub.head'::regclass::oid) FROM pg_control_system();

-- name: id_at
SELECT id FROM central_hub.log WHERE pos = $1;

-- name: put_place
UPDATE central_hub.head SET place = $1;

-- name: put_incarnation
-- Give the history another name, unless somebody else did.
UPDATE central_hub.head SET incarnation = $2, place = $3 WHERE incarnation = $1;

-- name: rename_snapshots
UPDATE central_hub.snapshots SET incarnation = $2 WHERE incarnation = $1;

-- name: heads
SELECT domain, domain_seq, hash FROM central_hub.heads;

-- name: written_by_others
SELECT pos, domain, domain_seq, streams, hash, id FROM central_hub.log WHERE pos > $1 ORDER BY pos;

-- name: known_results
SELECT r.domain, r.source, r.id, r.result
  FROM central_hub.results r
  JOIN unnest($1::text[], $2::text[], $3::text[]) AS k(domain, source, id) USING (domain, source, id);

-- name: known_told
SELECT t.domain, t.name
  FROM central_hub.told t JOIN unnest($1::text[], $2::text[]) AS k(domain, name) USING (domain, name);

-- name: append
-- A whole batch in one statement: records, ends of chains, first results, names told, the end of the log. It is undone
-- when the head was not moved: then the hub that writes was taken off the roster meanwhile. Who takes it off holds the
-- head's lock too, so this sees it.
WITH records AS (
  INSERT INTO central_hub.log (pos, domain, domain_seq, streams, category, type, schema_rev, id, time_ms, actor,
                               key_id, prev_hash, hash, data)
  SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[],
                       $8::text[], $9::bigint[], $10::bytea[], $11::text[], $12::bytea[], $13::bytea[], $14::bytea[])
), ends AS (
  INSERT INTO central_hub.heads (domain, domain_seq, hash)
  SELECT * FROM unnest($15::text[], $16::bigint[], $17::bytea[])
  ON CONFLICT (domain) DO UPDATE SET domain_seq = excluded.domain_seq, hash = excluded.hash
), firsts AS (
  INSERT INTO central_hub.results (domain, source, id, time_ms, result)
  SELECT domain, source, id, $22::bigint, result
    FROM unnest($18::text[], $19::text[], $20::text[], $21::bytea[]) AS k(domain, source, id, result)
), names AS (
  INSERT INTO central_hub.told (domain, name, time_ms)
  SELECT domain, name, $22::bigint FROM unnest($24::text[], $25::text[]) AS k(domain, name)
)
UPDATE central_hub.head SET pos = $23
 WHERE $26::text IS NULL OR EXISTS (SELECT FROM central_hub.members WHERE node = $26 AND epoch = $27::bigint);

-- name: read
SELECT pos, domain, domain_seq, streams, category, type, schema_rev, id, time_ms, actor, key_id, prev_hash, hash, data
  FROM central_hub.log WHERE pos > $1 ORDER BY pos LIMIT $2;

-- name: read_domain
SELECT pos, domain, domain_seq, streams, category, type, schema_rev, id, time_ms, actor, key_id, prev_hash, hash, data
  FROM central_hub.log WHERE domain = $1 AND domain_seq > $2 ORDER BY domain_seq LIMIT $3;

-- name: result
SELECT result FROM central_hub.results WHERE domain = $1 AND source = $2 AND id = $3;

-- name: anchor
SELECT domain_seq, hash FROM central_hub.anchors WHERE domain = $1;

-- name: domain_head
SELECT domain_seq, hash FROM central_hub.heads WHERE domain = $1;

-- name: drop_results
DELETE FROM central_hub.results WHERE (domain, source, id) IN
  (SELECT domain, source, id FROM central_hub.results WHERE time_ms < $1 ORDER BY time_ms LIMIT $2);

-- name: drop_told
DELETE FROM central_hub.told WHERE (domain, name) IN
  (SELECT domain, name FROM central_hub.told WHERE time_ms < $1 ORDER BY time_ms LIMIT $2);

-- name: results_behind
SELECT time_ms FROM central_hub.results ORDER BY time_ms DESC LIMIT 1 OFFSET $1;

-- name: retire_scan
SELECT pos, domain, domain_seq, hash, time_ms FROM central_hub.log WHERE pos <= $1 ORDER BY pos LIMIT $2;

-- name: put_anchor
INSERT INTO central_hub.anchors (domain, domain_seq, hash) VALUES ($1, $2, $3)
  ON CONFLICT (domain) DO UPDATE SET domain_seq = excluded.domain_seq, hash = excluded.hash;

-- name: retire
DELETE FROM central_hub.log WHERE pos <= $1;

-- name: expire_scan
SELECT domain_seq, category, time_ms, prev_hash, hash, length(data) AS bytes FROM central_hub.log
  WHERE domain = $1 AND domain_seq > $2 AND pos <= $3 ORDER BY domain_seq LIMIT $4;

-- name: expire
DELETE FROM central_hub.log WHERE domain = $1 AND domain_seq BETWEEN $2 AND $3;

-- name: gaps_of
SELECT first_seq, last_seq, prev_hash, hash FROM central_hub.gaps WHERE domain = $1 ORDER BY first_seq;

-- name: gaps_near
SELECT first_seq, last_seq, prev_hash, hash FROM central_hub.gaps
  WHERE domain = $1 AND first_seq BETWEEN $2::bigint AND $3::bigint + 1
UNION
SELECT * FROM (SELECT first_seq, last_seq, prev_hash, hash FROM central_hub.gaps WHERE domain = $1 AND first_seq < $2
                 ORDER BY first_seq DESC LIMIT 1) before;

-- name: put_gap
INSERT INTO central_hub.gaps (domain, first_seq, last_seq, prev_hash, hash) VALUES ($1, $2, $3, $4, $5);

-- name: drop_gap
DELETE FROM central_hub.gaps WHERE domain = $1 AND first_seq = $2;

-- name: drop_gaps_behind
DELETE FROM central_hub.gaps WHERE domain = $1 AND last_seq <= $2;

-- name: horizon
SELECT greatest(coalesce((SELECT domain_seq FROM central_hub.anchors WHERE domain = $1), 0),
                coalesce((SELECT last_seq FROM central_hub.gaps WHERE domain = $1 ORDER BY first_seq DESC LIMIT 1), 0));

-- name: weigh
SELECT domain, max(pos), count(*) FILTER (WHERE category = 'event'),
       coalesce(sum(length(data)) FILTER (WHERE category = 'event'), 0)::bigint
  FROM (SELECT pos, domain, category, data FROM central_hub.log WHERE pos > $1 ORDER BY pos LIMIT $2) looked
  GROUP BY domain;

-- name: data_keys
SELECT domain, key_id, wrapped FROM central_hub.data_keys ORDER BY nr;

-- name: put_data_key
INSERT INTO central_hub.data_keys (domain, key_id, wrapped) VALUES ($1, $2, $3);

-- name: replace_data_key
UPDATE central_hub.data_keys SET wrapped = $3 WHERE domain = $1 AND key_id = $2;

-- name: drop_data_keys
DELETE FROM central_hub.data_keys WHERE domain = $1;

-- name: cursors
SELECT consumer, domain, seq, state FROM central_hub.cursors;

-- name: lazily
-- A lost cursor costs a repetition; nobody waits for the disk because of one.
SET LOCAL synchronous_commit = off;

-- name: put_cursor
INSERT INTO central_hub.cursors (consumer, domain, seq, state) VALUES ($1, $2, $3, $4)
  ON CONFLICT (consumer) DO UPDATE SET domain = excluded.domain, seq = excluded.seq, state = excluded.state;

-- name: drop_cursor
DELETE FROM central_hub.cursors WHERE consumer = $1;

-- name: secret
SELECT key_id, sealed FROM central_hub.secrets WHERE name = $1;

-- name: put_secret
INSERT INTO central_hub.secrets (name, key_id, sealed) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING;

-- name: snapshots
SELECT pos, incarnation, parts FROM central_hub.snapshots ORDER BY pos DESC;

-- name: put_snapshot
INSERT INTO central_hub.snapshots (pos, incarnation, parts) VALUES ($1, $2, $3);

-- name: put_snapshot_part
INSERT INTO central_hub.snapshot_parts (pos, part, data) VALUES ($1, $2, $3);

-- name: snapshot_part
SELECT data FROM central_hub.snapshot_parts WHERE pos = $1 AND part = $2;

-- name: drop_snapshot
DELETE FROM central_hub.snapshots WHERE pos = $1;

-- name: take_hub_lock
-- One hub at a time writes, for as long as its session lives.
SELECT pg_try_advisory_lock(4207849486);

-- name: take_shared_lock
-- Hubs that share the store keep out those that do not.
SELECT pg_try_advisory_lock_shared(4207849486);

-- name: others_hold
-- Whether another session holds the lock, alone or shared.
SELECT EXISTS (SELECT FROM pg_locks
 WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = '4207849486'::oid AND objsubid = 1
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid());

-- name: unhurried
-- Beats and hints need not survive a crash of the server.
SET synchronous_commit = off;

-- name: impatient
-- A hub that stands still in the middle of a batch holds all the others up: not for long.
SET idle_in_transaction_session_timeout = '2s';

-- name: beat
-- Say that this hub lives and which roster it goes by, and look at everybody. The head comes even without members.
WITH mine AS (
  UPDATE central_hub.members SET beats = $3, seen = $4, pos = $5 WHERE node = $1 AND epoch = $2 RETURNING node
)
SELECT h.roster, m.node, m.epoch, m.process, m.version, m.beats, m.seen, m.pos,
       EXISTS (SELECT FROM mine) AS is_member
  FROM central_hub.head h LEFT JOIN central_hub.members m ON true;

-- name: on_roster
-- Hold a member's row until the transaction ends; no row when it was taken off.
SELECT true FROM central_hub.members WHERE node = $1 AND epoch = $2 FOR SHARE;

-- name: member
SELECT process, beats FROM central_hub.members WHERE node = $1;

-- name: next_roster
UPDATE central_hub.head SET roster = roster + 1 RETURNING roster;

-- name: put_member
INSERT INTO central_hub.members (node, epoch, process, version, beats, seen, pos) VALUES ($1, $2, $3, $4, 0, 0, $5)
  ON CONFLICT (node) DO UPDATE SET epoch = excluded.epoch, process = excluded.process, version = excluded.version,
                                   beats = 0, seen = 0, pos = excluded.pos;

-- name: drop_member
-- Take a member off the roster, unless it gave a sign of life; null beats take it off all the same.
DELETE FROM central_hub.members WHERE node = $1 AND epoch = $2 AND beats = COALESCE($3, beats);

-- name: signal
SELECT pg_notify('central_hub_signals', $1);

-- name: who_holds
-- The session that does.
SELECT pid FROM pg_locks
 WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = '4207849486'::oid AND objsubid = 1
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: end_session
-- End a session of this hub's own that the server has not missed yet.
SELECT pg_terminate_backend($1);

-- name: server
SELECT current_setting('server_version_num')::int AS version, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS standbys, pg_is_in_recovery() AS recovering,
       COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls;

-- name: powers
-- What the role could do that would go around the walls: its own marks, those of roles it can become, and ownership.
SELECT current_user AS role,
       bool_or(r.rolsuper) AS superuser,
       bool_or(r.rolbypassrls) AS bypass,
       string_agg(r.rolname, ', ') FILTER (WHERE (r.rolsuper OR r.rolbypassrls) AND r.rolname <> current_user) AS by_way_of
  FROM pg_roles r WHERE pg_has_role(current_user, r.oid, 'MEMBER');

-- name: walls
-- Each table: whether the role owns it or may truncate it, and whether its rows are walled.
SELECT c.relname AS name, pg_has_role(current_user, c.relowner, 'MEMBER') AS owned,
       has_table_privilege(current_user, c.oid, 'TRUNCATE') AS truncatable,
       c.relrowsecurity AND c.relforcerowsecurity AS walled,
       has_table_privilege(current_user, c.oid, 'SELECT') AS readable
  FROM pg_class c WHERE c.relnamespace = 'central_hub'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname;
