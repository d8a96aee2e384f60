-- What is searched: a projection of the log, kept up a moment behind it.
--
-- One row for each entry with text, sought by hashes of its parts of three letters; see
-- src/search.rs. It can be emptied at any time, together with `searchable`: it is filled again.
CREATE TABLE search (
    friendship_id uuid NOT NULL,
    seq           bigint NOT NULL,
    grams         integer[] NOT NULL,
    PRIMARY KEY (friendship_id, seq)
);
ALTER TABLE search ALTER grams SET STATISTICS 0, ALTER grams SET STORAGE EXTERNAL;
CREATE INDEX search_grams ON search USING gin (grams) WITH (gin_pending_list_limit = 16384);

-- How far each channel's log was taken over.
CREATE TABLE searchable (
    friendship_id uuid PRIMARY KEY,
    seq           bigint NOT NULL
) WITH (fillfactor = 70);

-- Replicas of the version before call it too.
CREATE OR REPLACE FUNCTION merge_words() RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = messages, pg_catalog AS $$
    SELECT gin_clean_pending_list('search_grams')
$$;
