-- Runs of records that left a domain before those ahead of them did, so that its chain still verifies.
CREATE TABLE central_hub.gaps (
  domain    text   NOT NULL,
  first_seq bigint NOT NULL,
  last_seq  bigint NOT NULL,
  prev_hash bytea  NOT NULL,
  hash      bytea  NOT NULL,
  PRIMARY KEY (domain, first_seq)
);

ALTER TABLE central_hub.gaps ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.gaps FORCE ROW LEVEL SECURITY;
CREATE POLICY of_domain ON central_hub.gaps USING (
  domain = ANY ((SELECT string_to_array(NULLIF(current_setting('hub.domains', true), ''), ','))::text[])
  OR (SELECT current_setting('hub.domains', true)) = '*');
