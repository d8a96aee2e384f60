-- The images in the media store. One that is being put there, and one that no account names any
-- more, has a time from which on it is removed.
CREATE TABLE images (
    name       text PRIMARY KEY,
    expires_at timestamptz DEFAULT now() + interval '1 hour'
);
CREATE INDEX images_expired ON images (expires_at) WHERE expires_at IS NOT NULL;
INSERT INTO images (name, expires_at) SELECT image, NULL FROM accounts WHERE image IS NOT NULL;
