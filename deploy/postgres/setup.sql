-- The roles and schemas, run by a superuser before each new version: what is there stays.
--
-- Each schema has an owner, which migrates it, and the role of its service, which reads and writes
-- its rows; neither sees another schema. The launcher and the tests put the password in.
DO $$
DECLARE
    service text;
BEGIN
    FOREACH service IN ARRAY ARRAY['users', 'friendships', 'messages'] LOOP
        IF to_regrole('natter_' || service) IS NULL THEN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', 'natter_' || service, '@PASSWORD@');
        END IF;
        IF to_regrole('natter_' || service || '_owner') IS NULL THEN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', 'natter_' || service || '_owner', '@PASSWORD@');
        END IF;
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', service);
        -- What a version without owners made.
        EXECUTE format('REASSIGN OWNED BY %I TO %I', 'natter_' || service, 'natter_' || service || '_owner');
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', service, 'natter_' || service || '_owner');
    END LOOP;
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
-- For the indexes behind the searches for users and in messages; part of PostgreSQL's own packages.
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA users;
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA messages;
