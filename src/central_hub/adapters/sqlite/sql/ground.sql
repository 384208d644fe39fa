-- name: extent
SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM results),
       (SELECT count(*) FROM heads WHERE domain <> ''), (SELECT count(*) FROM data_keys);

-- name: results_after
SELECT domain, source, id, time_ms, result FROM results WHERE (domain, source, id) > (?1, ?2, ?3)
  ORDER BY domain, source, id LIMIT ?4;

-- name: anchors
SELECT domain, domain_seq, hash FROM anchors;
