\set users_password `cat /run/secrets/users/password`
\set users_owner_password `cat /run/secrets/users-owner/password`
\set friendships_password `cat /run/secrets/friendships/password`
\set friendships_owner_password `cat /run/secrets/friendships-owner/password`
\set messages_password `cat /run/secrets/messages/password`
\set messages_owner_password `cat /run/secrets/messages-owner/password`
\i /setup/passwords.sql
