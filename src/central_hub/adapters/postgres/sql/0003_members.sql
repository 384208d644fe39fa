-- The hubs that share the store. `epoch` is the version of the roster that a hub joined with: what it writes is held
-- against it, so that one that was taken off the roster writes nothing late. `beats` move while it lives; `seen` is
-- the version of the roster that it goes by.
CREATE TABLE central_hub.members (
  node    text   PRIMARY KEY,
  epoch   bigint NOT NULL,
  process text   NOT NULL,
  version text   NOT NULL,
  beats   bigint NOT NULL,
  seen    bigint NOT NULL,
  pos     bigint NOT NULL
) WITH (fillfactor = 50);

-- Nothing in it is of a tenant: every hub sees all of it, whatever its transaction is about.
ALTER TABLE central_hub.members ENABLE ROW LEVEL SECURITY;
ALTER TABLE central_hub.members FORCE ROW LEVEL SECURITY;
CREATE POLICY of_hubs ON central_hub.members USING (true);

-- The version of the roster, in the row whose lock orders everything: who changes the roster waits for batches.
ALTER TABLE central_hub.head ADD COLUMN roster bigint NOT NULL DEFAULT 0;
