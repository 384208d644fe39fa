#!/bin/sh
# Run once, by the database's first start: one role owns the tables, the other is the hubs' and owns nothing.
set -eu
psql --username "${POSTGRES_USER:-postgres}" --dbname postgres --set ON_ERROR_STOP=1 --quiet \
  --set owner_password="$OWNER_PASSWORD" --set hub_password="$HUB_PASSWORD" <<'SQL'
CREATE ROLE hub_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE hub LOGIN PASSWORD :'hub_password' NOSUPERUSER NOBYPASSRLS;
CREATE DATABASE hub OWNER hub_owner;
SQL
