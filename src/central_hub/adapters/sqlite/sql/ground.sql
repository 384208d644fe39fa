-- name: extent
SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM results),
       (SELECT count(*) FROM heads WHERE domain <> ''), (SELECT count(*) FROM data_keys),
       (SELECT count(*) FROM told);

-- name: results_after
SELECT domain, source, id, time_ms, result FROM results WHERE (domain, source, id) > (?1, ?2, ?3)
  ORDER BY domain, source, id LIMIT ?4;

-- name: told_after
SELECT domain, name, time_ms FROM told WHERE (domain, name) > (?1, ?2) ORDER BY domain, name LIMIT ?3;

-- name: anchors
SELECT domain, domain_seq, hash FROM anchors;

-- name: gaps
SELECT domain, first_seq, last_seq, prev_hash, hash FROM gaps;
