--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: friendships; Type: SCHEMA; Schema: -; Owner: natter_friendships_owner
--



ALTER SCHEMA friendships OWNER TO natter_friendships_owner;

--
-- Name: messages; Type: SCHEMA; Schema: -; Owner: natter_messages_owner
--



ALTER SCHEMA messages OWNER TO natter_messages_owner;

--
-- Name: users; Type: SCHEMA; Schema: -; Owner: natter_users_owner
--



ALTER SCHEMA users OWNER TO natter_users_owner;

--
-- Name: seq_of_position(uuid, bigint, bigint, bigint); Type: FUNCTION; Schema: messages; Owner: natter_messages_owner
--

CREATE FUNCTION messages.seq_of_position(channel uuid, wanted bigint, low bigint, high bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    middle bigint;
    found bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT position INTO found FROM log WHERE friendship_id = channel AND seq = middle;
        IF found >= wanted THEN high := middle; ELSE low := middle + 1; END IF;
    END LOOP;
    RETURN low;
END $$;


ALTER FUNCTION messages.seq_of_position(channel uuid, wanted bigint, low bigint, high bigint) OWNER TO natter_messages_owner;

--
-- Name: seq_of_time(uuid, timestamp with time zone, bigint, bigint); Type: FUNCTION; Schema: messages; Owner: natter_messages_owner
--

CREATE FUNCTION messages.seq_of_time(channel uuid, moment timestamp with time zone, low bigint, high bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    middle bigint;
    found timestamptz;
BEGIN
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT at INTO found FROM log WHERE friendship_id = channel AND seq = middle;
        IF found >= moment THEN high := middle; ELSE low := middle + 1; END IF;
    END LOOP;
    RETURN low;
END $$;


ALTER FUNCTION messages.seq_of_time(channel uuid, moment timestamp with time zone, low bigint, high bigint) OWNER TO natter_messages_owner;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: _sqlx_migrations; Type: TABLE; Schema: friendships; Owner: natter_friendships_owner
--

CREATE TABLE friendships._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);


ALTER TABLE friendships._sqlx_migrations OWNER TO natter_friendships_owner;

--
-- Name: friendships; Type: TABLE; Schema: friendships; Owner: natter_friendships_owner
--

CREATE TABLE friendships.friendships (
    id uuid NOT NULL,
    from_user uuid NOT NULL,
    to_user uuid NOT NULL,
    status_from_user text NOT NULL,
    status_to_user text NOT NULL,
    date_created timestamp with time zone DEFAULT now() NOT NULL,
    revision integer DEFAULT 1 NOT NULL,
    CONSTRAINT friendships_check CHECK ((from_user <> to_user)),
    CONSTRAINT friendships_status_from_user_check CHECK ((status_from_user = ANY (ARRAY['pending'::text, 'accepted'::text, 'rejected'::text]))),
    CONSTRAINT friendships_status_to_user_check CHECK ((status_to_user = ANY (ARRAY['pending'::text, 'accepted'::text, 'rejected'::text])))
);


ALTER TABLE friendships.friendships OWNER TO natter_friendships_owner;

--
-- Name: gone_users; Type: TABLE; Schema: friendships; Owner: natter_friendships_owner
--

CREATE TABLE friendships.gone_users (
    user_id uuid NOT NULL
);


ALTER TABLE friendships.gone_users OWNER TO natter_friendships_owner;

--
-- Name: outbox; Type: TABLE; Schema: friendships; Owner: natter_friendships_owner
--

CREATE TABLE friendships.outbox (
    id bigint NOT NULL,
    event_id uuid NOT NULL,
    subject text NOT NULL,
    payload text NOT NULL,
    durable boolean NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    published_at timestamp with time zone,
    stream text,
    stream_first bigint,
    stream_seq bigint
);


ALTER TABLE friendships.outbox OWNER TO natter_friendships_owner;

--
-- Name: outbox_checkpoints; Type: TABLE; Schema: friendships; Owner: natter_friendships_owner
--

CREATE TABLE friendships.outbox_checkpoints (
    stream text NOT NULL,
    seq bigint NOT NULL,
    event_id uuid NOT NULL,
    compared_at timestamp with time zone NOT NULL
);


ALTER TABLE friendships.outbox_checkpoints OWNER TO natter_friendships_owner;

--
-- Name: outbox_id_seq; Type: SEQUENCE; Schema: friendships; Owner: natter_friendships_owner
--

ALTER TABLE friendships.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME friendships.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: _sqlx_migrations; Type: TABLE; Schema: messages; Owner: natter_messages_owner
--

CREATE TABLE messages._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);


ALTER TABLE messages._sqlx_migrations OWNER TO natter_messages_owner;

--
-- Name: channels; Type: TABLE; Schema: messages; Owner: natter_messages_owner
--

CREATE TABLE messages.channels (
    friendship_id uuid NOT NULL,
    from_user uuid NOT NULL,
    to_user uuid NOT NULL,
    is_open boolean NOT NULL,
    revision integer NOT NULL,
    last_seq bigint DEFAULT 0 NOT NULL,
    messages bigint DEFAULT 0 NOT NULL,
    from_messages bigint DEFAULT 0 NOT NULL,
    last_at timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL
);


ALTER TABLE messages.channels OWNER TO natter_messages_owner;

--
-- Name: log; Type: TABLE; Schema: messages; Owner: natter_messages_owner
--

CREATE TABLE messages.log (
    friendship_id uuid NOT NULL,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    kind smallint NOT NULL,
    "position" bigint NOT NULL,
    from_position bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    sender uuid NOT NULL,
    client_id text,
    digest bigint NOT NULL,
    content text NOT NULL,
    reply_to uuid,
    media jsonb,
    target_seq bigint,
    edit_seq bigint,
    deleted boolean DEFAULT false NOT NULL
);


ALTER TABLE messages.log OWNER TO natter_messages_owner;

--
-- Name: marks; Type: TABLE; Schema: messages; Owner: natter_messages_owner
--

CREATE TABLE messages.marks (
    friendship_id uuid NOT NULL,
    user_id uuid NOT NULL,
    received_seq bigint NOT NULL,
    seen_seq bigint NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE messages.marks OWNER TO natter_messages_owner;

--
-- Name: media; Type: TABLE; Schema: messages; Owner: natter_messages_owner
--

CREATE TABLE messages.media (
    id uuid NOT NULL,
    owner uuid NOT NULL,
    filename text NOT NULL,
    content_type text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    friendship_id uuid,
    seq bigint,
    expires_at timestamp with time zone DEFAULT (now() + '1 day'::interval),
    removed boolean DEFAULT false NOT NULL
);


ALTER TABLE messages.media OWNER TO natter_messages_owner;

--
-- Name: outbox; Type: TABLE; Schema: messages; Owner: natter_messages_owner
--

CREATE TABLE messages.outbox (
    id bigint NOT NULL,
    channels uuid[] NOT NULL,
    first_seqs bigint[] NOT NULL,
    last_seqs bigint[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    published_at timestamp with time zone,
    stream text,
    stream_first bigint,
    stream_seq bigint,
    event_id uuid
);


ALTER TABLE messages.outbox OWNER TO natter_messages_owner;

--
-- Name: outbox_checkpoints; Type: TABLE; Schema: messages; Owner: natter_messages_owner
--

CREATE TABLE messages.outbox_checkpoints (
    stream text NOT NULL,
    seq bigint NOT NULL,
    event_id uuid NOT NULL,
    compared_at timestamp with time zone NOT NULL
);


ALTER TABLE messages.outbox_checkpoints OWNER TO natter_messages_owner;

--
-- Name: outbox_id_seq; Type: SEQUENCE; Schema: messages; Owner: natter_messages_owner
--

ALTER TABLE messages.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME messages.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: _sqlx_migrations; Type: TABLE; Schema: users; Owner: natter_users_owner
--

CREATE TABLE users._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);


ALTER TABLE users._sqlx_migrations OWNER TO natter_users_owner;

--
-- Name: accounts; Type: TABLE; Schema: users; Owner: natter_users_owner
--

CREATE TABLE users.accounts (
    id uuid NOT NULL,
    username text NOT NULL,
    username_key text NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    first_name text NOT NULL,
    last_name text NOT NULL,
    image text,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE users.accounts OWNER TO natter_users_owner;

--
-- Name: images; Type: TABLE; Schema: users; Owner: natter_users_owner
--

CREATE TABLE users.images (
    name text NOT NULL,
    expires_at timestamp with time zone DEFAULT (now() + '01:00:00'::interval)
);


ALTER TABLE users.images OWNER TO natter_users_owner;

--
-- Name: outbox; Type: TABLE; Schema: users; Owner: natter_users_owner
--

CREATE TABLE users.outbox (
    id bigint NOT NULL,
    event_id uuid NOT NULL,
    subject text NOT NULL,
    payload text NOT NULL,
    durable boolean NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    published_at timestamp with time zone,
    stream text,
    stream_first bigint,
    stream_seq bigint
);


ALTER TABLE users.outbox OWNER TO natter_users_owner;

--
-- Name: outbox_checkpoints; Type: TABLE; Schema: users; Owner: natter_users_owner
--

CREATE TABLE users.outbox_checkpoints (
    stream text NOT NULL,
    seq bigint NOT NULL,
    event_id uuid NOT NULL,
    compared_at timestamp with time zone NOT NULL
);


ALTER TABLE users.outbox_checkpoints OWNER TO natter_users_owner;

--
-- Name: outbox_id_seq; Type: SEQUENCE; Schema: users; Owner: natter_users_owner
--

ALTER TABLE users.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME users.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: sessions; Type: TABLE; Schema: users; Owner: natter_users_owner
--

CREATE TABLE users.sessions (
    sid uuid NOT NULL,
    user_id uuid NOT NULL,
    user_agent text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone DEFAULT now() NOT NULL,
    refresh_jti uuid NOT NULL,
    refresh_issued_at timestamp with time zone NOT NULL,
    previous_jti uuid,
    rotated_at timestamp with time zone,
    ended_at timestamp with time zone
);


ALTER TABLE users.sessions OWNER TO natter_users_owner;

--
-- Name: signing_keys; Type: TABLE; Schema: users; Owner: natter_users_owner
--

CREATE TABLE users.signing_keys (
    kid text NOT NULL,
    pkcs8 bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);


ALTER TABLE users.signing_keys OWNER TO natter_users_owner;

--
-- Data for Name: _sqlx_migrations; Type: TABLE DATA; Schema: friendships; Owner: natter_friendships_owner
--

INSERT INTO friendships._sqlx_migrations VALUES (1, 'friendships', '2026-11-28 11:08:53.703347+00', true, '\x87b7b8509f10aa4a3b0c48f665d05abc00728741638de90f1025e7796df998158c8db603999a9f295473a3c07e4aea5f', 22337797);
INSERT INTO friendships._sqlx_migrations VALUES (2, 'gone users', '2026-11-28 11:08:53.726775+00', true, '\xf01b9dfafaae81dd6a70199232da7b9ecce83db0fd151564ca25416ab57c3b6c29724e039a060d170431ec51759aa331', 3891387);
INSERT INTO friendships._sqlx_migrations VALUES (3, 'outbox places', '2026-11-28 11:08:53.731304+00', true, '\x81808ce6e5fe5db17eb5827ec06106981d62afff88e49eb386632caf43d488b2ab362f7b14b6d3ffb01a10ea79037be5', 12179939);


--
-- Data for Name: friendships; Type: TABLE DATA; Schema: friendships; Owner: natter_friendships_owner
--

INSERT INTO friendships.friendships VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', '01a221d8-04f4-71f2-900b-8193746dd1de', '01a221d8-056f-77a4-a939-891ef912024c', 'accepted', 'accepted', '2026-11-28 11:08:55.075149+00', 2);
INSERT INTO friendships.friendships VALUES ('01a221d8-0a8d-7573-8622-375c663ce7a8', '01a221d8-04f4-71f2-900b-8193746dd1de', '01a221d8-0a34-77f4-a379-db18c590d82c', 'accepted', 'rejected', '2026-11-28 11:08:56.332547+00', 3);
INSERT INTO friendships.friendships VALUES ('01a221d8-09ae-75ec-be03-8b3b3f9ce807', '01a221d8-04f4-71f2-900b-8193746dd1de', '01a221d8-0950-75ad-aa8f-9f0f1d1513a4', 'accepted', 'rejected', '2026-11-28 11:08:56.108849+00', 3);


--
-- Data for Name: gone_users; Type: TABLE DATA; Schema: friendships; Owner: natter_friendships_owner
--

INSERT INTO friendships.gone_users VALUES ('01a221d8-0950-75ad-aa8f-9f0f1d1513a4');


--
-- Data for Name: outbox; Type: TABLE DATA; Schema: friendships; Owner: natter_friendships_owner
--



--
-- Data for Name: outbox_checkpoints; Type: TABLE DATA; Schema: friendships; Owner: natter_friendships_owner
--



--
-- Data for Name: _sqlx_migrations; Type: TABLE DATA; Schema: messages; Owner: natter_messages_owner
--

INSERT INTO messages._sqlx_migrations VALUES (1, 'messages', '2026-11-28 11:08:53.782453+00', true, '\xd0597598e7ca8ba4127224ca99d10fcd2783f17584189408c40d6dbfe4a4ea9eb355844e27269e75642b3154d6f26c94', 35908613);
INSERT INTO messages._sqlx_migrations VALUES (2, 'search and files', '2026-11-28 11:08:53.819549+00', true, '\xfafa569c30549b4bed70fe1cbd14e6a59c3ceb2d651301e39e493cc3f8b969ece6cb00780df63db71be46b299de2a2fe', 6149100);
INSERT INTO messages._sqlx_migrations VALUES (3, 'outbox places', '2026-11-28 11:08:53.826324+00', true, '\x5f14c7f67ce64c777bb83682bd6ea3c0dc35a0bcddc116858b1b10838a98ec2ee62ddde510724553ce9285040b053ddc', 9821226);


--
-- Data for Name: channels; Type: TABLE DATA; Schema: messages; Owner: natter_messages_owner
--

INSERT INTO messages.channels VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', '01a221d8-04f4-71f2-900b-8193746dd1de', '01a221d8-056f-77a4-a939-891ef912024c', true, 2, 8, 6, 6, '2026-11-28 11:08:55.856833+00', '2026-11-28 11:08:55.075149+00');
INSERT INTO messages.channels VALUES ('01a221d8-0a8d-7573-8622-375c663ce7a8', '01a221d8-04f4-71f2-900b-8193746dd1de', '01a221d8-0a34-77f4-a379-db18c590d82c', false, 3, 0, 0, 0, '1970-01-01 00:00:00+00', '2026-11-28 11:08:56.332547+00');
INSERT INTO messages.channels VALUES ('01a221d8-09ae-75ec-be03-8b3b3f9ce807', '01a221d8-04f4-71f2-900b-8193746dd1de', '01a221d8-0950-75ad-aa8f-9f0f1d1513a4', false, 3, 0, 0, 0, '1970-01-01 00:00:00+00', '2026-11-28 11:08:56.108849+00');


--
-- Data for Name: log; Type: TABLE DATA; Schema: messages; Owner: natter_messages_owner
--

INSERT INTO messages.log VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', 3, '01a221d8-076b-8bc9-a5c5-0c0000000003', 0, 3, 3, '2026-11-28 11:08:55.531001+00', '01a221d8-04f4-71f2-900b-8193746dd1de', 'a-3', 8387692104812090748, 'Hello', NULL, NULL, NULL, NULL, false);
INSERT INTO messages.log VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', 4, '01a221d8-07b0-88db-a879-510000000004', 0, 4, 4, '2026-11-28 11:08:55.600991+00', '01a221d8-04f4-71f2-900b-8193746dd1de', 'a-4', 8387692104812090748, 'Hello', NULL, NULL, NULL, NULL, false);
INSERT INTO messages.log VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', 5, '01a221d8-0813-87e3-8001-ee0000000005', 1, 4, 4, '2026-11-28 11:08:55.699724+00', '01a221d8-04f4-71f2-900b-8193746dd1de', 'e-1', 4559917324849927997, 'Changed', NULL, NULL, 1, NULL, false);
INSERT INTO messages.log VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', 1, '01a221d8-06a1-8e3f-a9de-9a0000000001', 0, 1, 1, '2026-11-28 11:08:55.329981+00', '01a221d8-04f4-71f2-900b-8193746dd1de', 'a-1', 8387692104812090748, 'Hello', NULL, NULL, NULL, 5, false);
INSERT INTO messages.log VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', 6, '01a221d8-0847-8c2f-8dc8-490000000006', 2, 4, 4, '2026-11-28 11:08:55.75148+00', '01a221d8-04f4-71f2-900b-8193746dd1de', 'd-1', -8832331832885117790, '', NULL, NULL, 2, NULL, false);
INSERT INTO messages.log VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', 2, '01a221d8-072f-8cf6-88f3-580000000002', 0, 2, 2, '2026-11-28 11:08:55.471538+00', '01a221d8-04f4-71f2-900b-8193746dd1de', 'a-2', 8387692104812090748, '', NULL, NULL, NULL, NULL, true);
INSERT INTO messages.log VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', 7, '01a221d8-087d-8562-b2ae-950000000007', 0, 5, 5, '2026-11-28 11:08:55.805205+00', '01a221d8-04f4-71f2-900b-8193746dd1de', 'a-5', 1214016741143589312, 'An answer', '01a221d8-076b-8bc9-a5c5-0c0000000003', NULL, NULL, NULL, false);
INSERT INTO messages.log VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', 8, '01a221d8-08b0-8861-a404-5c0000000008', 0, 6, 6, '2026-11-28 11:08:55.856833+00', '01a221d8-04f4-71f2-900b-8193746dd1de', 'a-6', 1195827949225612556, '', NULL, '[{"id": "01a221d8-08ab-757f-9886-e83ac6ffbe18", "size": 5, "filename": "note.txt", "content_type": "text/plain"}]', NULL, NULL, false);


--
-- Data for Name: marks; Type: TABLE DATA; Schema: messages; Owner: natter_messages_owner
--

INSERT INTO messages.marks VALUES ('01a221d8-05a4-7717-8017-6ec1577c15c7', '01a221d8-056f-77a4-a939-891ef912024c', 4, 4, '2026-11-28 11:08:55.679833+00');


--
-- Data for Name: media; Type: TABLE DATA; Schema: messages; Owner: natter_messages_owner
--

INSERT INTO messages.media VALUES ('01a221d8-08ab-757f-9886-e83ac6ffbe18', '01a221d8-04f4-71f2-900b-8193746dd1de', 'note.txt', 'text/plain', 5, '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824', '2026-11-28 11:08:55.855641+00', '01a221d8-05a4-7717-8017-6ec1577c15c7', 8, NULL, false);


--
-- Data for Name: outbox; Type: TABLE DATA; Schema: messages; Owner: natter_messages_owner
--



--
-- Data for Name: outbox_checkpoints; Type: TABLE DATA; Schema: messages; Owner: natter_messages_owner
--



--
-- Data for Name: _sqlx_migrations; Type: TABLE DATA; Schema: users; Owner: natter_users_owner
--

INSERT INTO users._sqlx_migrations VALUES (1, 'users', '2026-11-28 11:08:53.577141+00', true, '\x2adc9638aad2c4a5dd54003bc53839c7dcaaa0d1e60b2e9332c7a51f53732f35c614beda4e82010d2b3ad61e5a8e80b7', 44359209);
INSERT INTO users._sqlx_migrations VALUES (2, 'images', '2026-11-28 11:08:53.623935+00', true, '\x7eda29a62bfb56431c5ee8af34a103e1918da51afbcd0c8cb5638bac01378cea71308dd6162d7ba029adc133f3170911', 14078739);
INSERT INTO users._sqlx_migrations VALUES (3, 'outbox places', '2026-11-28 11:08:53.642406+00', true, '\x81808ce6e5fe5db17eb5827ec06106981d62afff88e49eb386632caf43d488b2ab362f7b14b6d3ffb01a10ea79037be5', 16282081);


--
-- Data for Name: accounts; Type: TABLE DATA; Schema: users; Owner: natter_users_owner
--

INSERT INTO users.accounts VALUES ('01a221d8-04f4-71f2-900b-8193746dd1de', 'alice1', 'ALICE1', 'alice1@mail.example', '$argon2id$v=19$m=19456,t=2,p=1$kggV3wsgU3d8saFWpAwP6w$PZ2oylRebph4Dkc46yjD5lucrJAmUO8At027Zuy/jdQ', '', '', NULL, '2026-11-28 11:08:54.900576+00');
INSERT INTO users.accounts VALUES ('01a221d8-056f-77a4-a939-891ef912024c', 'bob2', 'BOB2', 'bob2@mail.example', '$argon2id$v=19$m=19456,t=2,p=1$9iUCxbSoPMc43e3RRQY7pg$REE6CtTV+NfWxmb2qeldvXtVbxgEIvV02jIpN0H+cV4', '', '', NULL, '2026-11-28 11:08:55.023303+00');
INSERT INTO users.accounts VALUES ('01a221d8-0a34-77f4-a379-db18c590d82c', 'dave4', 'DAVE4', 'dave4@mail.example', '$argon2id$v=19$m=19456,t=2,p=1$3KoJro2hUllmzGpUdZdzqg$qY5uIk0qiDhx/LL44LQ5o9eUV+rW6ikSHTxdP54nBOM', '', '', NULL, '2026-11-28 11:08:56.244522+00');


--
-- Data for Name: images; Type: TABLE DATA; Schema: users; Owner: natter_users_owner
--



--
-- Data for Name: outbox; Type: TABLE DATA; Schema: users; Owner: natter_users_owner
--



--
-- Data for Name: outbox_checkpoints; Type: TABLE DATA; Schema: users; Owner: natter_users_owner
--



--
-- Data for Name: sessions; Type: TABLE DATA; Schema: users; Owner: natter_users_owner
--

INSERT INTO users.sessions VALUES ('66d31a48-f2d9-469d-b3c3-a7db66ce2516', '01a221d8-04f4-71f2-900b-8193746dd1de', '', '2026-11-28 11:08:54.900576+00', '2026-11-28 11:08:54.900576+00', '509670e0-fd6e-4101-a591-d758425f5860', '2026-11-28 11:08:54.903946+00', NULL, NULL, NULL);
INSERT INTO users.sessions VALUES ('1261ea4a-326b-405e-ade3-d13fcba834a2', '01a221d8-056f-77a4-a939-891ef912024c', '', '2026-11-28 11:08:55.023303+00', '2026-11-28 11:08:55.023303+00', '73e21260-9e97-47bf-a30f-bd5f2fb1a4b4', '2026-11-28 11:08:55.024657+00', NULL, NULL, NULL);
INSERT INTO users.sessions VALUES ('4cf004c1-dad1-463e-942f-232b63acc1c3', '01a221d8-0a34-77f4-a379-db18c590d82c', '', '2026-11-28 11:08:56.244522+00', '2026-11-28 11:08:56.244522+00', '228b1df8-1065-4f95-80c1-fe3fdab6e94d', '2026-11-28 11:08:56.245949+00', NULL, NULL, NULL);
INSERT INTO users.sessions VALUES ('691082bb-5cda-4cce-ab22-a90963a4c4aa', '01a221d8-056f-77a4-a939-891ef912024c', '', '2026-11-28 11:08:56.568523+00', '2026-11-28 11:08:56.568523+00', 'cab831a8-6545-468b-8586-a05bd88764fc', '2026-11-28 11:08:56.569473+00', NULL, NULL, '2026-11-28 11:08:56.613038+00');


--
-- Data for Name: signing_keys; Type: TABLE DATA; Schema: users; Owner: natter_users_owner
--



--
-- Name: outbox_id_seq; Type: SEQUENCE SET; Schema: friendships; Owner: natter_friendships_owner
--

SELECT pg_catalog.setval('friendships.outbox_id_seq', 24, true);


--
-- Name: outbox_id_seq; Type: SEQUENCE SET; Schema: messages; Owner: natter_messages_owner
--

SELECT pg_catalog.setval('messages.outbox_id_seq', 8, true);


--
-- Name: outbox_id_seq; Type: SEQUENCE SET; Schema: users; Owner: natter_users_owner
--

SELECT pg_catalog.setval('users.outbox_id_seq', 11, true);


--
-- Name: _sqlx_migrations _sqlx_migrations_pkey; Type: CONSTRAINT; Schema: friendships; Owner: natter_friendships_owner
--

ALTER TABLE ONLY friendships._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);


--
-- Name: friendships friendships_pkey; Type: CONSTRAINT; Schema: friendships; Owner: natter_friendships_owner
--

ALTER TABLE ONLY friendships.friendships
    ADD CONSTRAINT friendships_pkey PRIMARY KEY (id);


--
-- Name: gone_users gone_users_pkey; Type: CONSTRAINT; Schema: friendships; Owner: natter_friendships_owner
--

ALTER TABLE ONLY friendships.gone_users
    ADD CONSTRAINT gone_users_pkey PRIMARY KEY (user_id);


--
-- Name: outbox_checkpoints outbox_checkpoints_pkey; Type: CONSTRAINT; Schema: friendships; Owner: natter_friendships_owner
--

ALTER TABLE ONLY friendships.outbox_checkpoints
    ADD CONSTRAINT outbox_checkpoints_pkey PRIMARY KEY (stream);


--
-- Name: outbox outbox_pkey; Type: CONSTRAINT; Schema: friendships; Owner: natter_friendships_owner
--

ALTER TABLE ONLY friendships.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);


--
-- Name: _sqlx_migrations _sqlx_migrations_pkey; Type: CONSTRAINT; Schema: messages; Owner: natter_messages_owner
--

ALTER TABLE ONLY messages._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);


--
-- Name: channels channels_pkey; Type: CONSTRAINT; Schema: messages; Owner: natter_messages_owner
--

ALTER TABLE ONLY messages.channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (friendship_id);


--
-- Name: log log_pkey; Type: CONSTRAINT; Schema: messages; Owner: natter_messages_owner
--

ALTER TABLE ONLY messages.log
    ADD CONSTRAINT log_pkey PRIMARY KEY (friendship_id, seq);


--
-- Name: marks marks_pkey; Type: CONSTRAINT; Schema: messages; Owner: natter_messages_owner
--

ALTER TABLE ONLY messages.marks
    ADD CONSTRAINT marks_pkey PRIMARY KEY (friendship_id, user_id);


--
-- Name: media media_pkey; Type: CONSTRAINT; Schema: messages; Owner: natter_messages_owner
--

ALTER TABLE ONLY messages.media
    ADD CONSTRAINT media_pkey PRIMARY KEY (id);


--
-- Name: outbox_checkpoints outbox_checkpoints_pkey; Type: CONSTRAINT; Schema: messages; Owner: natter_messages_owner
--

ALTER TABLE ONLY messages.outbox_checkpoints
    ADD CONSTRAINT outbox_checkpoints_pkey PRIMARY KEY (stream);


--
-- Name: outbox outbox_pkey; Type: CONSTRAINT; Schema: messages; Owner: natter_messages_owner
--

ALTER TABLE ONLY messages.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);


--
-- Name: _sqlx_migrations _sqlx_migrations_pkey; Type: CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);


--
-- Name: accounts accounts_pkey; Type: CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);


--
-- Name: accounts accounts_username_key; Type: CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users.accounts
    ADD CONSTRAINT accounts_username_key UNIQUE (username_key);


--
-- Name: images images_pkey; Type: CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users.images
    ADD CONSTRAINT images_pkey PRIMARY KEY (name);


--
-- Name: outbox_checkpoints outbox_checkpoints_pkey; Type: CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users.outbox_checkpoints
    ADD CONSTRAINT outbox_checkpoints_pkey PRIMARY KEY (stream);


--
-- Name: outbox outbox_pkey; Type: CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);


--
-- Name: sessions sessions_pkey; Type: CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (sid);


--
-- Name: signing_keys signing_keys_pkey; Type: CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (kid);


--
-- Name: friendships_from; Type: INDEX; Schema: friendships; Owner: natter_friendships_owner
--

CREATE INDEX friendships_from ON friendships.friendships USING btree (from_user);


--
-- Name: friendships_pair; Type: INDEX; Schema: friendships; Owner: natter_friendships_owner
--

CREATE UNIQUE INDEX friendships_pair ON friendships.friendships USING btree (LEAST(from_user, to_user), GREATEST(from_user, to_user));


--
-- Name: friendships_to; Type: INDEX; Schema: friendships; Owner: natter_friendships_owner
--

CREATE INDEX friendships_to ON friendships.friendships USING btree (to_user);


--
-- Name: outbox_places; Type: INDEX; Schema: friendships; Owner: natter_friendships_owner
--

CREATE INDEX outbox_places ON friendships.outbox USING btree (stream, stream_seq) WHERE (stream IS NOT NULL);


--
-- Name: outbox_published; Type: INDEX; Schema: friendships; Owner: natter_friendships_owner
--

CREATE INDEX outbox_published ON friendships.outbox USING btree (published_at) WHERE (published_at IS NOT NULL);


--
-- Name: outbox_waiting; Type: INDEX; Schema: friendships; Owner: natter_friendships_owner
--

CREATE INDEX outbox_waiting ON friendships.outbox USING btree (id) WHERE (published_at IS NULL);


--
-- Name: channels_from_user; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE INDEX channels_from_user ON messages.channels USING btree (from_user);


--
-- Name: channels_to_user; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE INDEX channels_to_user ON messages.channels USING btree (to_user);


--
-- Name: log_client_id; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE UNIQUE INDEX log_client_id ON messages.log USING btree (friendship_id, sender, client_id) WHERE (client_id IS NOT NULL);


--
-- Name: log_words; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE INDEX log_words ON messages.log USING gin (friendship_id, to_tsvector('simple'::regconfig, content)) WHERE (kind < 2);


--
-- Name: media_expired; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE INDEX media_expired ON messages.media USING btree (expires_at) WHERE (expires_at IS NOT NULL);


--
-- Name: media_owner; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE INDEX media_owner ON messages.media USING btree (owner, id);


--
-- Name: outbox_places; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE INDEX outbox_places ON messages.outbox USING btree (stream, stream_seq) WHERE (stream IS NOT NULL);


--
-- Name: outbox_published; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE INDEX outbox_published ON messages.outbox USING btree (published_at) WHERE (published_at IS NOT NULL);


--
-- Name: outbox_waiting; Type: INDEX; Schema: messages; Owner: natter_messages_owner
--

CREATE INDEX outbox_waiting ON messages.outbox USING btree (id) WHERE (published_at IS NULL);


--
-- Name: accounts_username_part; Type: INDEX; Schema: users; Owner: natter_users_owner
--

CREATE INDEX accounts_username_part ON users.accounts USING gin (username_key users.gin_trgm_ops);


--
-- Name: images_expired; Type: INDEX; Schema: users; Owner: natter_users_owner
--

CREATE INDEX images_expired ON users.images USING btree (expires_at) WHERE (expires_at IS NOT NULL);


--
-- Name: outbox_places; Type: INDEX; Schema: users; Owner: natter_users_owner
--

CREATE INDEX outbox_places ON users.outbox USING btree (stream, stream_seq) WHERE (stream IS NOT NULL);


--
-- Name: outbox_published; Type: INDEX; Schema: users; Owner: natter_users_owner
--

CREATE INDEX outbox_published ON users.outbox USING btree (published_at) WHERE (published_at IS NOT NULL);


--
-- Name: outbox_waiting; Type: INDEX; Schema: users; Owner: natter_users_owner
--

CREATE INDEX outbox_waiting ON users.outbox USING btree (id) WHERE (published_at IS NULL);


--
-- Name: sessions_user; Type: INDEX; Schema: users; Owner: natter_users_owner
--

CREATE INDEX sessions_user ON users.sessions USING btree (user_id) WHERE (ended_at IS NULL);


--
-- Name: sessions sessions_user_id_fkey; Type: FK CONSTRAINT; Schema: users; Owner: natter_users_owner
--

ALTER TABLE ONLY users.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users.accounts(id) ON DELETE CASCADE;


--
-- Name: SCHEMA friendships; Type: ACL; Schema: -; Owner: natter_friendships_owner
--

GRANT USAGE ON SCHEMA friendships TO natter_friendships;


--
-- Name: SCHEMA messages; Type: ACL; Schema: -; Owner: natter_messages_owner
--

GRANT USAGE ON SCHEMA messages TO natter_messages;


--
-- Name: SCHEMA users; Type: ACL; Schema: -; Owner: natter_users_owner
--

GRANT USAGE ON SCHEMA users TO natter_users;


--
-- Name: TABLE _sqlx_migrations; Type: ACL; Schema: friendships; Owner: natter_friendships_owner
--

GRANT SELECT ON TABLE friendships._sqlx_migrations TO natter_friendships;


--
-- Name: TABLE friendships; Type: ACL; Schema: friendships; Owner: natter_friendships_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE friendships.friendships TO natter_friendships;


--
-- Name: TABLE gone_users; Type: ACL; Schema: friendships; Owner: natter_friendships_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE friendships.gone_users TO natter_friendships;


--
-- Name: TABLE outbox; Type: ACL; Schema: friendships; Owner: natter_friendships_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE friendships.outbox TO natter_friendships;


--
-- Name: TABLE outbox_checkpoints; Type: ACL; Schema: friendships; Owner: natter_friendships_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE friendships.outbox_checkpoints TO natter_friendships;


--
-- Name: TABLE _sqlx_migrations; Type: ACL; Schema: messages; Owner: natter_messages_owner
--

GRANT SELECT ON TABLE messages._sqlx_migrations TO natter_messages;


--
-- Name: TABLE channels; Type: ACL; Schema: messages; Owner: natter_messages_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE messages.channels TO natter_messages;


--
-- Name: TABLE log; Type: ACL; Schema: messages; Owner: natter_messages_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE messages.log TO natter_messages;


--
-- Name: TABLE marks; Type: ACL; Schema: messages; Owner: natter_messages_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE messages.marks TO natter_messages;


--
-- Name: TABLE media; Type: ACL; Schema: messages; Owner: natter_messages_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE messages.media TO natter_messages;


--
-- Name: TABLE outbox; Type: ACL; Schema: messages; Owner: natter_messages_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE messages.outbox TO natter_messages;


--
-- Name: TABLE outbox_checkpoints; Type: ACL; Schema: messages; Owner: natter_messages_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE messages.outbox_checkpoints TO natter_messages;


--
-- Name: TABLE _sqlx_migrations; Type: ACL; Schema: users; Owner: natter_users_owner
--

GRANT SELECT ON TABLE users._sqlx_migrations TO natter_users;


--
-- Name: TABLE accounts; Type: ACL; Schema: users; Owner: natter_users_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE users.accounts TO natter_users;


--
-- Name: TABLE images; Type: ACL; Schema: users; Owner: natter_users_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE users.images TO natter_users;


--
-- Name: TABLE outbox; Type: ACL; Schema: users; Owner: natter_users_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE users.outbox TO natter_users;


--
-- Name: TABLE outbox_checkpoints; Type: ACL; Schema: users; Owner: natter_users_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE users.outbox_checkpoints TO natter_users;


--
-- Name: TABLE sessions; Type: ACL; Schema: users; Owner: natter_users_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE users.sessions TO natter_users;


--
-- Name: TABLE signing_keys; Type: ACL; Schema: users; Owner: natter_users_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE users.signing_keys TO natter_users;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: friendships; Owner: natter_friendships_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE natter_friendships_owner IN SCHEMA friendships GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES  TO natter_friendships;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: messages; Owner: natter_messages_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE natter_messages_owner IN SCHEMA messages GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES  TO natter_messages;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: users; Owner: natter_users_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE natter_users_owner IN SCHEMA users GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES  TO natter_users;


--
-- PostgreSQL database dump complete
--


