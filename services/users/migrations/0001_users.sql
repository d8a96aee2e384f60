-- Accounts, their sessions, the keys that sign tokens, and what is to be told about them.

CREATE TABLE accounts (
    id            uuid PRIMARY KEY,
    username      text NOT NULL,
    -- NFKC and upper case: unique and searchable regardless of case.
    username_key  text NOT NULL CONSTRAINT accounts_username_key UNIQUE,
    email         text NOT NULL,
    password_hash text NOT NULL,
    first_name    text NOT NULL,
    last_name     text NOT NULL,
    -- The image's name in the media store.
    image         text,
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- Finds a part of a name without reading all of them.
CREATE INDEX accounts_username_part ON accounts USING gin (username_key gin_trgm_ops);

-- One login on one device, with its family of refresh tokens.
CREATE TABLE sessions (
    sid                uuid PRIMARY KEY,
    user_id            uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    user_agent         text NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    last_used_at       timestamptz NOT NULL DEFAULT now(),
    -- The one refresh token that counts, and when it was made.
    refresh_jti        uuid NOT NULL,
    refresh_issued_at  timestamptz NOT NULL,
    -- Its predecessor, and when that was exchanged for it.
    previous_jti       uuid,
    rotated_at         timestamptz,
    ended_at           timestamptz
);
CREATE INDEX sessions_user ON sessions (user_id) WHERE ended_at IS NULL;

CREATE TABLE signing_keys (
    kid        text PRIMARY KEY,
    pkcs8      bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

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
