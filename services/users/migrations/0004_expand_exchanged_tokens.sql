-- Refresh tokens that were exchanged a moment ago, and when: each still gets the newest one.
ALTER TABLE sessions
    ADD exchanged_jtis uuid[] NOT NULL DEFAULT '{}',
    ADD exchanged_at   timestamptz[] NOT NULL DEFAULT '{}';

-- The key of a name with this letter was its own; it is that of one with ss.
UPDATE accounts SET username_key = replace(username_key, 'ẞ', 'SS')
WHERE username_key LIKE '%ẞ%' AND NOT EXISTS (
    SELECT FROM accounts AS other
    WHERE other.username_key = replace(accounts.username_key, 'ẞ', 'SS'));
