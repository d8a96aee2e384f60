-- One role for each schema, which sees nothing else. Run once by a superuser in a fresh database;
-- the launcher and the tests put the passwords in.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE ROLE natter_users LOGIN PASSWORD '@PASSWORD@';
CREATE ROLE natter_friendships LOGIN PASSWORD '@PASSWORD@';
CREATE ROLE natter_messages LOGIN PASSWORD '@PASSWORD@';
CREATE SCHEMA users AUTHORIZATION natter_users;
CREATE SCHEMA friendships AUTHORIZATION natter_friendships;
CREATE SCHEMA messages AUTHORIZATION natter_messages;
