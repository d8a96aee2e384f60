-- From when on a key signs. Until then it is only published, so that every service knows it first.
ALTER TABLE signing_keys ADD signs_from timestamptz NOT NULL DEFAULT now();
UPDATE signing_keys SET signs_from = created_at;
