-- The passwords of passwords.sql from files: each a file (compose), or a folder with the file that
-- PASSWORD_KEY names (Kubernetes: /password).
\set users_password `cat /run/secrets/postgres-users$PASSWORD_KEY`
\set users_owner_password `cat /run/secrets/postgres-users-owner$PASSWORD_KEY`
\set friendships_password `cat /run/secrets/postgres-friendships$PASSWORD_KEY`
\set friendships_owner_password `cat /run/secrets/postgres-friendships-owner$PASSWORD_KEY`
\set messages_password `cat /run/secrets/postgres-messages$PASSWORD_KEY`
\set messages_owner_password `cat /run/secrets/postgres-messages-owner$PASSWORD_KEY`
\ir passwords.sql
