-- no-transaction
-- The index of whole words, which each message wrote to. Replicas of the version before search
-- without it, which is slow in long conversations. Not in a transaction: it waits for whoever reads
-- the log, and nobody waits for it.
DROP INDEX CONCURRENTLY IF EXISTS log_words;
