-- Who may talk to whom, and what is to be told about it.

CREATE TABLE friendships (
    id               uuid PRIMARY KEY,
    -- Who asked, and who was asked.
    from_user        uuid NOT NULL,
    to_user          uuid NOT NULL,
    status_from_user text NOT NULL CHECK (status_from_user IN ('pending', 'accepted', 'rejected')),
    status_to_user   text NOT NULL CHECK (status_to_user IN ('pending', 'accepted', 'rejected')),
    date_created     timestamptz NOT NULL DEFAULT now(),
    -- 1, 2, 3, … with each change: what listens keeps the newest.
    revision         integer NOT NULL DEFAULT 1,
    CHECK (from_user <> to_user)
);
-- One row for each unordered pair of users.
CREATE UNIQUE INDEX friendships_pair
    ON friendships (least(from_user, to_user), greatest(from_user, to_user));
CREATE INDEX friendships_from ON friendships (from_user);
CREATE INDEX friendships_to ON friendships (to_user);

CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     uuid NOT NULL,
    subject      text NOT NULL,
    payload      text NOT NULL,
    durable      boolean NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_waiting ON outbox (id) WHERE published_at IS NULL;
