-- A word that changes when the logs were set back, and what it is told by.

CREATE TABLE log_epoch (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch             uuid NOT NULL DEFAULT gen_random_uuid(),
    -- Of the database that the epoch was last compared with: a restored dump is another system, a
    -- promoted standby and a recovery to a point in time are other timelines.
    system_identifier bigint NOT NULL,
    timeline          integer NOT NULL,
    -- The newest event of the stream that the log was found to be without.
    forgotten_event   uuid
);

INSERT INTO log_epoch (system_identifier, timeline)
SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
FROM pg_control_system();
