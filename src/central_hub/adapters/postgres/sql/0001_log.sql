-- The store, as the owner's role makes it. Forward only: what is here never changes, later versions add files.

-- The end of the log, one row. Its row lock is what orders writers: who appends holds it until the commit, so
-- positions are given in the order in which records become visible, without gaps. `place` says where the history was
-- last seen (cluster, timeline, table): a start that finds it elsewhere was restored or failed over.
CREATE TABLE central_hub.head (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  pos         bigint  NOT NULL,
  incarnation text    NOT NULL,
  place       text    NOT NULL
);

-- The log. `pos` orders everything; (domain, domain_seq) is what leaves the hub.
CREATE TABLE central_hub.log (
  pos        bigint   PRIMARY KEY,
  domain     text     NOT NULL,
  domain_seq bigint   NOT NULL,
  streams    text     NOT NULL,
  category   text     NOT NULL,
  type       text     NOT NULL,
  schema_rev integer  NOT NULL,
  id         text     NOT NULL,
  time_ms    bigint   NOT NULL,
  actor      bytea    NOT NULL,
  key_id     text     NOT NULL,
  prev_hash  bytea    NOT NULL,
  hash       bytea    NOT NULL,
  data       bytea    NOT NULL
);
CREATE UNIQUE INDEX log_domain ON central_hub.log (domain, domain_seq);
-- Sealed bytes do not compress; do not try, and keep them in the row where they fit.
ALTER TABLE central_hub.log ALTER COLUMN data SET STORAGE EXTERNAL;

-- The end of each domain's chain.
CREATE TABLE central_hub.heads (
  domain     text   PRIMARY KEY,
  domain_seq bigint NOT NULL,
  hash       bytea  NOT NULL
) WITH (fillfactor = 70);

-- Where retention cut a domain: the last record it removed, so that what is left still verifies.
CREATE TABLE central_hub.anchors (
  domain     text   PRIMARY KEY,
  domain_seq bigint NOT NULL,
  hash       bytea  NOT NULL
);

-- First results of commands that carried an idempotency key, sealed.
CREATE TABLE central_hub.results (
  domain  text   NOT NULL,
  source  text   NOT NULL,
  id      text   NOT NULL,
  time_ms bigint NOT NULL,
  result  bytea  NOT NULL,
  PRIMARY KEY (domain, source, id)
);
CREATE INDEX results_time ON central_hub.results (time_ms);

-- Data keys of the domains, wrapped under the master key, which is not in here. `nr` is the order they came in.
CREATE TABLE central_hub.data_keys (
  nr      bigint GENERATED ALWAYS AS IDENTITY,
  domain  text  NOT NULL,
  key_id  text  NOT NULL,
  wrapped bytea NOT NULL,
  PRIMARY KEY (domain, key_id)
);

-- The hub's own secrets (what keys are hashed with, what decisions are sealed with), under the platform's data key.
CREATE TABLE central_hub.secrets (
  name   text  PRIMARY KEY,
  key_id text  NOT NULL,
  sealed bytea NOT NULL
);

-- How far each follower of the log has come; what follows a lost one is told again.
CREATE TABLE central_hub.cursors (
  consumer text   PRIMARY KEY,
  domain   text   NOT NULL,
  seq      bigint NOT NULL,
  state    bytea  NOT NULL
) WITH (fillfactor = 50);

-- Snapshots of the views, in parts; sealed under the domains' data keys.
CREATE TABLE central_hub.snapshots (
  pos         bigint  PRIMARY KEY,
  incarnation text    NOT NULL,
  parts       integer NOT NULL
);
CREATE TABLE central_hub.snapshot_parts (
  pos  bigint  NOT NULL REFERENCES central_hub.snapshots (pos) ON DELETE CASCADE,
  part integer NOT NULL,
  data bytea   NOT NULL,
  PRIMARY KEY (pos, part)
);
ALTER TABLE central_hub.snapshot_parts ALTER COLUMN data SET STORAGE EXTERNAL;

-- The second wall. A transaction says whose rows it is about (`hub.domains`: names with commas, or * for a replay);
-- without a word it sees none and writes none. Forced, so that the owner is held to it too. The subselects are
-- evaluated once a statement, not once a row.
ALTER TABLE central_hub.log ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.log FORCE ROW LEVEL SECURITY;
CREATE POLICY of_domain ON central_hub.log USING (
  domain = ANY ((SELECT string_to_array(NULLIF(current_setting('hub.domains', true), ''), ','))::text[])
  OR (SELECT current_setting('hub.domains', true)) = '*');

ALTER TABLE central_hub.heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.heads FORCE ROW LEVEL SECURITY;
CREATE POLICY of_domain ON central_hub.heads USING (
  domain = ANY ((SELECT string_to_array(NULLIF(current_setting('hub.domains', true), ''), ','))::text[])
  OR (SELECT current_setting('hub.domains', true)) = '*');

ALTER TABLE central_hub.anchors ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.anchors FORCE ROW LEVEL SECURITY;
CREATE POLICY of_domain ON central_hub.anchors USING (
  domain = ANY ((SELECT string_to_array(NULLIF(current_setting('hub.domains', true), ''), ','))::text[])
  OR (SELECT current_setting('hub.domains', true)) = '*');

ALTER TABLE central_hub.results ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.results FORCE ROW LEVEL SECURITY;
CREATE POLICY of_domain ON central_hub.results USING (
  domain = ANY ((SELECT string_to_array(NULLIF(current_setting('hub.domains', true), ''), ','))::text[])
  OR (SELECT current_setting('hub.domains', true)) = '*');

ALTER TABLE central_hub.data_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.data_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY of_domain ON central_hub.data_keys USING (
  domain = ANY ((SELECT string_to_array(NULLIF(current_setting('hub.domains', true), ''), ','))::text[])
  OR (SELECT current_setting('hub.domains', true)) = '*');

ALTER TABLE central_hub.cursors ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.cursors FORCE ROW LEVEL SECURITY;
CREATE POLICY of_domain ON central_hub.cursors USING (
  domain = ANY ((SELECT string_to_array(NULLIF(current_setting('hub.domains', true), ''), ','))::text[])
  OR (SELECT current_setting('hub.domains', true)) = '*');

-- What is of all domains together is for who says so.
ALTER TABLE central_hub.secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY of_all ON central_hub.secrets USING ((SELECT current_setting('hub.domains', true)) = '*');

ALTER TABLE central_hub.snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.snapshots FORCE ROW LEVEL SECURITY;
CREATE POLICY of_all ON central_hub.snapshots USING ((SELECT current_setting('hub.domains', true)) = '*');

ALTER TABLE central_hub.snapshot_parts ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.snapshot_parts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_all ON central_hub.snapshot_parts USING ((SELECT current_setting('hub.domains', true)) = '*');
