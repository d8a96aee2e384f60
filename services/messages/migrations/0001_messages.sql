-- The logs of all channels, how far each user is in them, and what is to be published.
-- Every key starts with the friendship's id, so that the tables can be sharded by it.

-- What this service knows of a friendship (from the friendship service's events), and the head of
-- its log.
CREATE TABLE channels (
    friendship_id uuid PRIMARY KEY,
    from_user     uuid NOT NULL,
    to_user       uuid NOT NULL,
    is_open       boolean NOT NULL,
    -- Of the friendship: an older event changes nothing.
    revision      integer NOT NULL,
    -- The newest seq; the log has every one from 1 to it.
    last_seq      bigint NOT NULL DEFAULT 0,
    -- How many entries of the log are messages.
    messages      bigint NOT NULL DEFAULT 0,
    -- How many of them are from_user's.
    from_messages bigint NOT NULL DEFAULT 0,
    -- When the newest entry was made; the next is not earlier.
    last_at       timestamptz NOT NULL DEFAULT 'epoch',
    -- Of the friendship: the activity of one that nobody has written in.
    created_at    timestamptz NOT NULL
);
CREATE INDEX channels_from_user ON channels (from_user);
CREATE INDEX channels_to_user ON channels (to_user);

CREATE TABLE log (
    friendship_id uuid NOT NULL,
    seq           bigint NOT NULL,
    -- Carries seq: an entry is found by its id through the primary key.
    id            uuid NOT NULL,
    -- 0 message, 1 edited, 2 deleted
    kind          smallint NOT NULL,
    -- How many of the entries up to this one are messages. It and `at` only ever grow with seq, so
    -- a page and a date are found by halving, without an index of their own.
    position      bigint NOT NULL,
    -- How many of those are from_user's: what is unread is a difference, not a count.
    from_position bigint NOT NULL,
    at            timestamptz NOT NULL,
    sender        uuid NOT NULL,
    client_id     text,
    -- Of what was sent: tells a repeat from another use of the same client_id, also after the
    -- content is gone.
    digest        bigint NOT NULL,
    content       text NOT NULL,
    reply_to      uuid,
    -- Of a message: its files, as they are shown; null where there are none.
    media         jsonb,
    -- Of an edit or deletion: the message's seq.
    target_seq    bigint,
    -- Of a message: its newest edit. Of an edit: the one before.
    edit_seq      bigint,
    -- Of a message. It and its edits keep their places without content.
    deleted       boolean NOT NULL DEFAULT false,
    PRIMARY KEY (friendship_id, seq)
);
CREATE UNIQUE INDEX log_client_id ON log (friendship_id, sender, client_id)
    WHERE client_id IS NOT NULL;

-- How far each user has received and seen: marks, not rows for each message.
CREATE TABLE marks (
    friendship_id uuid NOT NULL,
    user_id       uuid NOT NULL,
    received_seq  bigint NOT NULL,
    seen_seq      bigint NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (friendship_id, user_id)
);

-- Files, uploaded or sent. Their content is in the media store.
CREATE TABLE media (
    id            uuid PRIMARY KEY,
    owner         uuid NOT NULL,
    filename      text NOT NULL,
    content_type  text NOT NULL,
    size          bigint NOT NULL,
    sha256        text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- The message that it was sent in.
    friendship_id uuid,
    seq           bigint,
    -- From when on nothing needs it: a day after an upload that was not sent, or at once when its
    -- message was deleted.
    expires_at    timestamptz DEFAULT now() + interval '1 day'
);
CREATE INDEX media_expired ON media (expires_at) WHERE expires_at IS NOT NULL;

-- One row for each batch that was committed: which entries the stream CHAT must get.
CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channels     uuid[] NOT NULL,
    first_seqs   bigint[] NOT NULL,
    last_seqs    bigint[] NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_waiting ON outbox (id) WHERE published_at IS NULL;

-- The first seq from low to high whose position is at least `wanted`; high where none before is.
CREATE FUNCTION seq_of_position(channel uuid, wanted bigint, low bigint, high bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    middle bigint;
    found bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT position INTO found FROM log WHERE friendship_id = channel AND seq = middle;
        IF found >= wanted THEN high := middle; ELSE low := middle + 1; END IF;
    END LOOP;
    RETURN low;
END $$;

-- The first seq from low to high that is not earlier than `moment`; high where none before is.
CREATE FUNCTION seq_of_time(channel uuid, moment timestamptz, low bigint, high bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    middle bigint;
    found timestamptz;
BEGIN
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT at INTO found FROM log WHERE friendship_id = channel AND seq = middle;
        IF found >= moment THEN high := middle; ELSE low := middle + 1; END IF;
    END LOOP;
    RETURN low;
END $$;
