-- New words are put into a list, which this service merges into the index every second or so
-- (a search reads both): the list is so long that no send has to wait for that.
ALTER INDEX log_words SET (gin_pending_list_limit = 262144);

-- The owner's right, for the service's role.
CREATE FUNCTION merge_words() RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = messages, pg_catalog AS $$
    SELECT gin_clean_pending_list('log_words')
$$;
