-- Names of records that are written once: what was told under one is not told again.
CREATE TABLE central_hub.told (
  domain  text   NOT NULL,
  name    text   NOT NULL,
  time_ms bigint NOT NULL,
  PRIMARY KEY (domain, name)
);
CREATE INDEX told_time ON central_hub.told (time_ms);

ALTER TABLE central_hub.told ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.told FORCE ROW LEVEL SECURITY;
CREATE POLICY of_domain ON central_hub.told USING (
  domain = ANY ((SELECT string_to_array(NULLIF(current_setting('hub.domains', true), ''), ','))::text[])
  OR (SELECT current_setting('hub.domains', true)) = '*');
