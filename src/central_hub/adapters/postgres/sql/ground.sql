-- name: extent
SELECT h.pos, h.incarnation, (SELECT count(*) FROM central_hub.log) AS records,
       (SELECT count(*) FROM central_hub.results) AS results, (SELECT count(*) FROM central_hub.heads) AS domains,
       (SELECT count(*) FROM central_hub.data_keys) AS data_keys, (SELECT count(*) FROM central_hub.told) AS told
  FROM central_hub.head h;

-- name: results_after
SELECT domain, source, id, time_ms, result FROM central_hub.results WHERE (domain, source, id) > ($1, $2, $3)
  ORDER BY domain, source, id LIMIT $4;

-- name: anchors
SELECT domain, domain_seq, hash FROM central_hub.anchors;

-- name: put_log
INSERT INTO central_hub.log (pos, domain, domain_seq, streams, category, type, schema_rev, id, time_ms, actor, key_id,
                             prev_hash, hash, data)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[],
                     $9::bigint[], $10::bytea[], $11::text[], $12::bytea[], $13::bytea[], $14::bytea[]);

-- name: told_after
SELECT domain, name, time_ms FROM central_hub.told WHERE (domain, name) > ($1, $2) ORDER BY domain, name LIMIT $3;

-- name: put_told
INSERT INTO central_hub.told (domain, name, time_ms) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]);

-- name: put_results
INSERT INTO central_hub.results (domain, source, id, time_ms, result)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]);

-- name: put_heads
INSERT INTO central_hub.heads (domain, domain_seq, hash) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[]);

-- name: put_anchors
INSERT INTO central_hub.anchors (domain, domain_seq, hash) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[]);

-- name: put_data_keys
INSERT INTO central_hub.data_keys (domain, key_id, wrapped) SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]);

-- name: end_at
UPDATE central_hub.head SET pos = $1, incarnation = $2;

-- name: rename
UPDATE central_hub.head SET incarnation = $1;

-- name: rename_all_snapshots
UPDATE central_hub.snapshots SET incarnation = $1;

-- name: size
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
 WHERE c.relnamespace = 'central_hub'::regnamespace AND c.relkind = 'r';

-- name: gaps
SELECT domain, first_seq, last_seq, prev_hash, hash FROM central_hub.gaps;

-- name: put_gaps
INSERT INTO central_hub.gaps (domain, first_seq, last_seq, prev_hash, hash)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[]);
