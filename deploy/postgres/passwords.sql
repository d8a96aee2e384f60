-- The passwords of the roles of setup.sql, run by a superuser after it. Each is a variable of psql:
-- users_password, users_owner_password, friendships_password, …
SET log_min_error_statement = panic;
ALTER ROLE natter_users PASSWORD :'users_password';
ALTER ROLE natter_users_owner PASSWORD :'users_owner_password';
ALTER ROLE natter_friendships PASSWORD :'friendships_password';
ALTER ROLE natter_friendships_owner PASSWORD :'friendships_owner_password';
ALTER ROLE natter_messages PASSWORD :'messages_password';
ALTER ROLE natter_messages_owner PASSWORD :'messages_owner_password';
