-- name: schema_version
-- The version of the tables, none in a new file.
SELECT value FROM meta WHERE key = 'schema_version';

-- name: put_meta
INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: incarnation
SELECT value FROM meta WHERE key = 'incarnation';

-- name: head
-- The last position of the log, none in an empty one.
SELECT domain_seq FROM heads WHERE domain = '';

-- name: heads
SELECT domain, domain_seq, hash FROM heads WHERE domain <> '';

-- name: put_head
INSERT INTO heads (domain, domain_seq, hash) VALUES (?1, ?2, ?3)
  ON CONFLICT (domain) DO UPDATE SET domain_seq = excluded.domain_seq, hash = excluded.hash;

-- name: insert_record
INSERT INTO log (pos, domain, domain_seq, streams, category, type, schema_rev, id, time_ms, actor, key_id,
                 prev_hash, hash, data)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14);

-- name: written_by_others
-- Domain, streams and chain end of records past what this process knows.
SELECT pos, domain, domain_seq, streams, hash FROM log WHERE pos > ?1 ORDER BY pos;

-- name: read
SELECT pos, domain, domain_seq, streams, category, type, schema_rev, id, time_ms, actor, key_id, prev_hash, hash, data
  FROM log WHERE pos > ?1 ORDER BY pos LIMIT ?2;

-- name: read_domain
SELECT pos, domain, domain_seq, streams, category, type, schema_rev, id, time_ms, actor, key_id, prev_hash, hash, data
  FROM log WHERE domain = ?1 AND domain_seq > ?2 ORDER BY domain_seq LIMIT ?3;

-- name: result
SELECT result FROM results WHERE domain = ?1 AND source = ?2 AND id = ?3;

-- name: put_result
INSERT INTO results (domain, source, id, time_ms, result) VALUES (?1, ?2, ?3, ?4, ?5);

-- name: drop_results
-- Some of the results kept before a time, oldest first.
DELETE FROM results WHERE (domain, source, id) IN
  (SELECT domain, source, id FROM results WHERE time_ms < ?1 ORDER BY time_ms LIMIT ?2);

-- name: results_behind
-- When the newest result behind so many newer ones was kept, none if there are not that many.
SELECT time_ms FROM results ORDER BY time_ms DESC LIMIT 1 OFFSET ?1;

-- name: told
SELECT 1 FROM told WHERE domain = ?1 AND name = ?2;

-- name: put_told
INSERT INTO told (domain, name, time_ms) VALUES (?1, ?2, ?3);

-- name: drop_told
-- Some of the names told before a time, oldest first.
DELETE FROM told WHERE (domain, name) IN (SELECT domain, name FROM told WHERE time_ms < ?1 ORDER BY time_ms LIMIT ?2);

-- name: anchor
SELECT domain_seq, hash FROM anchors WHERE domain = ?1;

-- name: retire_scan
-- The oldest records, as far as they are behind the snapshot.
SELECT pos, domain, domain_seq, hash, time_ms FROM log WHERE pos <= ?1 ORDER BY pos LIMIT ?2;

-- name: put_anchor
INSERT INTO anchors (domain, domain_seq, hash) VALUES (?1, ?2, ?3)
  ON CONFLICT (domain) DO UPDATE SET domain_seq = excluded.domain_seq, hash = excluded.hash;

-- name: retire
DELETE FROM log WHERE pos <= ?1;

-- name: expire_scan
-- The oldest records of a domain after a position, as far as they are behind the snapshot.
SELECT domain_seq, category, time_ms, prev_hash, hash, length(data) FROM log
  WHERE domain = ?1 AND domain_seq > ?2 AND pos <= ?3 ORDER BY domain_seq LIMIT ?4;

-- name: expire
DELETE FROM log WHERE domain = ?1 AND domain_seq BETWEEN ?2 AND ?3;

-- name: gaps_of
SELECT first_seq, last_seq, prev_hash, hash FROM gaps WHERE domain = ?1 ORDER BY first_seq;

-- name: gaps_near
-- The gaps of a domain that lie between two positions or touch what does.
SELECT first_seq, last_seq, prev_hash, hash FROM gaps WHERE domain = ?1 AND first_seq BETWEEN ?2 AND ?3 + 1
UNION
SELECT * FROM (SELECT first_seq, last_seq, prev_hash, hash FROM gaps WHERE domain = ?1 AND first_seq < ?2
                 ORDER BY first_seq DESC LIMIT 1);

-- name: put_gap
INSERT INTO gaps (domain, first_seq, last_seq, prev_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5);

-- name: drop_gap
DELETE FROM gaps WHERE domain = ?1 AND first_seq = ?2;

-- name: drop_gaps_behind
DELETE FROM gaps WHERE domain = ?1 AND last_seq <= ?2;

-- name: horizon
-- The last position of a domain at which something has left.
SELECT max(coalesce((SELECT domain_seq FROM anchors WHERE domain = ?1), 0),
           coalesce((SELECT last_seq FROM gaps WHERE domain = ?1 ORDER BY first_seq DESC LIMIT 1), 0));

-- name: weigh
-- What the next records take, by domain: how far was looked, how many events, bytes of their data.
SELECT domain, max(pos), sum(category = 'event'), sum(CASE category WHEN 'event' THEN length(data) ELSE 0 END)
  FROM (SELECT pos, domain, category, data FROM log WHERE pos > ?1 ORDER BY pos LIMIT ?2) GROUP BY domain;

-- name: data_keys
SELECT domain, key_id, wrapped FROM data_keys;

-- name: put_data_key
INSERT INTO data_keys (domain, key_id, wrapped) VALUES (?1, ?2, ?3);

-- name: replace_data_key
UPDATE data_keys SET wrapped = ?3 WHERE domain = ?1 AND key_id = ?2;

-- name: drop_data_keys
DELETE FROM data_keys WHERE domain = ?1;
