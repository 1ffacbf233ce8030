-- The accounts and the database of compose.yaml: run once, by the image, when its volume is empty.
--
-- Parlance owns its database and is no superuser, so the extension is made here; the exporter may look and not touch.
-- Passwords are read from files by the shell of psql and never stand in a command line or the environment.
\set ON_ERROR_STOP on
\set parlance_password `cat /run/secrets/parlance_password`
\set exporter_password `cat /run/secrets/postgres_exporter_password`

CREATE ROLE parlance LOGIN PASSWORD :'parlance_password';
CREATE ROLE exporter LOGIN PASSWORD :'exporter_password' IN ROLE pg_monitor;
CREATE DATABASE parlance OWNER parlance;
REVOKE CONNECT ON DATABASE parlance FROM PUBLIC;
GRANT CONNECT ON DATABASE parlance TO exporter;
\connect parlance
CREATE EXTENSION vector;
-- What statements cost; postgresql.conf loads it.
CREATE EXTENSION pg_stat_statements;
