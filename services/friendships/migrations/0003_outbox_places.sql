-- Where its stream put an event: what the stream has no more is published again.
ALTER TABLE outbox ADD stream text, ADD stream_first bigint, ADD stream_seq bigint;
CREATE INDEX outbox_places ON outbox (stream, stream_seq) WHERE stream IS NOT NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

-- The newest place that was found there, and when.
CREATE TABLE outbox_checkpoints (
    stream      text PRIMARY KEY,
    seq         bigint NOT NULL,
    event_id    uuid NOT NULL,
    compared_at timestamptz NOT NULL
);
