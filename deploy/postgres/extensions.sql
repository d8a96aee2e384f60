-- For the indexes behind the searches for users and in messages; part of PostgreSQL's own packages.
-- Run by a superuser before each new version: what is there stays.
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA users;
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA messages;
