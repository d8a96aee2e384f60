-- The roles and schemas, run by a superuser before each new version: what is there stays.
--
-- Each schema has an owner, which migrates it, and the role of its service, which reads and writes
-- its rows; neither sees another schema. Their passwords are set by passwords.sql, or by whatever
-- manages the database (CloudNativePG: managed roles).
SET log_min_error_statement = panic;
DO $$
DECLARE
    service text;
    owner text;
BEGIN
    FOREACH service IN ARRAY ARRAY['users', 'friendships', 'messages'] LOOP
        owner := 'natter_' || service || '_owner';
        IF to_regrole('natter_' || service) IS NULL THEN
            EXECUTE format('CREATE ROLE %I LOGIN', 'natter_' || service);
        END IF;
        IF to_regrole(owner) IS NULL THEN
            EXECUTE format('CREATE ROLE %I LOGIN', owner);
        END IF;
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', service);
        -- What a version without owners made; its replicas may still run.
        EXECUTE format('REASSIGN OWNED BY %I TO %I', 'natter_' || service, owner);
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', service, owner);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', service, 'natter_' || service);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', service, 'natter_' || service);
        -- And what a migration makes, from its commit on.
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', owner, service, 'natter_' || service);
    END LOOP;
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
-- For the index behind the search for users, and for one in messages that a migration makes and a later one
-- drops; part of PostgreSQL's own packages.
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA users;
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA messages;
