-- The words of messages and of their edits, by channel: a search reads those of the caller's own.
CREATE INDEX log_words ON log USING gin (friendship_id, to_tsvector('simple', content))
    WHERE kind < 2;

-- A user's files, for the export.
CREATE INDEX media_owner ON media (owner, id);
-- Its content is gone. What was sent keeps its row: a repeated send is known by it.
ALTER TABLE media ADD removed boolean NOT NULL DEFAULT false;
