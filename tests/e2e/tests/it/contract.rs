//! Every row of the contract's tables, and the tests that hold it. A row whose test is renamed or
//! removed fails here.

use std::{collections::BTreeSet, fs};

const HTTP: &[(&str, &[&str])] = &[
    (
        "paths",
        &[
            "every_documented_error_has_its_body",
            "the_pages_need_nothing_from_elsewhere",
        ],
    ),
    (
        "bodies",
        &[
            "bodies_that_are_none_get_an_error_body",
            "sending_over_http_is_like_sending_a_frame",
            "a_form_whose_file_was_not_chosen_sends_its_text",
            "a_form_is_taken_whole_or_refused",
        ],
    ),
    ("error bodies", &["every_documented_error_has_its_body"]),
    ("no credentials", &["every_documented_error_has_its_body"]),
    (
        "bad, expired or revoked access token",
        &[
            "every_documented_error_has_its_body",
            "logging_out_closes_that_sessions_sockets_and_no_other",
        ],
    ),
    (
        "malformed JSON, wrong type, unknown content type, over-long body",
        &[
            "every_documented_error_has_its_body",
            "what_is_too_long_is_answered_while_it_is_still_being_sent",
        ],
    ),
    (
        "unknown path / wrong method",
        &[
            "the_pages_need_nothing_from_elsewhere",
            "every_documented_error_has_its_body",
            "bodies_that_are_none_get_an_error_body",
        ],
    ),
    (
        "rate limit",
        &[
            "repeated_failures_are_refused_for_a_while",
            "too_many_sign_ups_are_refused_for_a_while",
            "only_a_trusted_proxy_is_believed_and_only_what_it_added_itself",
        ],
    ),
    (
        "a dependency is down",
        &[
            "what_waits_for_a_stopped_postgres_is_unavailable_until_it_returns",
            "what_waits_for_a_stopped_nats_is_unavailable_until_it_returns",
            "files_live_in_a_bucket",
        ],
    ),
    (
        "other origins",
        &[
            "pages_of_allowed_origins_may_read_answers_and_others_may_not",
            "without_a_list_no_answer_is_shared_and_pages_of_the_same_host_connect",
        ],
    ),
    (
        "headers of answers",
        &[
            "pages_of_allowed_origins_may_read_answers_and_others_may_not",
            "answers_with_tokens_are_kept_by_no_cache",
        ],
    ),
    (
        "encodings",
        &["an_encoding_that_is_not_understood_is_said_so"],
    ),
    (
        "hosts",
        &[
            "what_is_no_request_gets_an_error_body",
            "links_start_with_what_the_client_asked_for",
            "a_host_is_one_name_or_address",
        ],
    ),
    (
        "client addresses",
        &[
            "only_a_trusted_proxy_is_believed_and_only_what_it_added_itself",
            "the_standard_header_is_read_where_the_usual_one_is_missing",
        ],
    ),
    ("too long", &["what_is_no_request_gets_an_error_body"]),
    ("ids", &["two_people_talk_through_one_process"]),
    (
        "URLs in answers",
        &[
            "links_keep_every_other_parameter",
            "a_profile_changes_where_it_is_told_to",
        ],
    ),
    (
        "paging",
        &[
            "users_are_found_by_a_part_of_their_name",
            "pages_bounds_and_orders",
            "following_next_visits_every_row_once",
        ],
    ),
    ("request id", &["bodies_that_are_none_get_an_error_body"]),
    (
        "tokens",
        &["an_expired_access_token_is_renewed_at_the_upgrade"],
    ),
    (
        "POST login/",
        &[
            "a_login_is_right_or_refused_alike",
            "a_login_ends_what_nobody_uses_and_what_is_too_much",
            "logins_at_the_same_time_have_no_more_tries_than_one_after_the_other",
            "repeated_failures_are_refused_for_a_while",
        ],
    ),
    (
        "POST logout/",
        &[
            "logout_wants_ones_own_refresh_token",
            "logging_out_closes_that_sessions_sockets_and_no_other",
        ],
    ),
    (
        "POST refresh-token/",
        &[
            "a_refresh_token_counts_once",
            "a_lost_answer_to_a_refresh_is_repeated",
            "the_table_of_exchanges",
            "a_client_that_is_ahead_of_a_database_that_was_set_back_stays_logged_in",
        ],
    ),
    (
        "POST signup/",
        &[
            "signup_says_what_is_wrong",
            "large_images_are_scaled_and_keep_their_shape",
            "a_username_is_its_own_normal_form",
            "a_password_is_told_exactly_what_it_lacks",
        ],
    ),
    (
        "GET, PATCH profile/",
        &[
            "a_profile_changes_where_it_is_told_to",
            "a_profile_may_change_sixty_times_a_minute",
        ],
    ),
    (
        "GET /api/users/",
        &["users_are_found_by_a_part_of_their_name"],
    ),
    (
        "POST password/",
        &["a_new_password_ends_every_other_session"],
    ),
    (
        "GET sessions/, DELETE sessions/<sid>/",
        &["sessions_are_listed_and_ended"],
    ),
    (
        "DELETE profile/",
        &[
            "a_deleted_account_is_gone_and_its_messages_stay",
            "a_deletion_goes_on_after_a_crash_in_the_middle",
        ],
    ),
    (
        "GET export/",
        &[
            "an_export_has_everything",
            "an_export_goes_on_after_a_crash_in_the_middle",
        ],
    ),
    ("GET friendship/", &["every_refusal_has_its_words"]),
    (
        "POST friendship/",
        &[
            "every_refusal_has_its_words",
            "two_opposite_requests_make_one_friendship",
        ],
    ),
    (
        "PATCH friendship/",
        &[
            "every_refusal_has_its_words",
            "a_rejection_is_taken_back_by_its_own_side_only",
        ],
    ),
    (
        "GET messages/",
        &[
            "pages_bounds_and_orders",
            "what_cannot_be_asked_is_refused",
            "reading_is_receiving_and_the_sender_is_told",
        ],
    ),
    (
        "POST messages/",
        &["sending_over_http_is_like_sending_a_frame"],
    ),
    ("GET events/", &["the_log_is_read_as_frames"]),
    (
        "POST media/, GET media/<id>/",
        &[
            "an_upload_is_its_owners_until_it_is_sent",
            "what_nothing_needs_is_swept",
        ],
    ),
    (
        "GET conversations/",
        &["conversations_are_listed_by_activity_with_what_is_unread"],
    ),
    (
        "GET search/",
        &[
            "messages_are_found_by_their_words",
            "what_people_type_is_found_at_once_and_by_the_index",
            "a_message_is_found_as_it_reads_now",
            "a_long_conversation_is_taken_over_and_searched",
        ],
    ),
    (
        "documentation",
        &[
            "the_pages_need_nothing_from_elsewhere",
            "schemathesis_finds_nothing",
        ],
    ),
];

const WEBSOCKET: &[(&str, &[&str])] = &[
    (
        "headers Authorization: Bearer <access> and refresh: <refresh>",
        &[
            "two_people_talk_through_separate_processes",
            "an_expired_access_token_is_renewed_at_the_upgrade",
            "who_may_not_connect_is_told_so",
        ],
    ),
    (
        "Sec-WebSocket-Protocol: natter.v1, bearer.<access>",
        &[
            "a_browser_is_warned_and_renews_its_token",
            "who_may_not_connect_is_told_so",
            "pages_of_the_same_host_or_of_an_allowed_origin_are_let_in",
        ],
    ),
    (
        "negotiating natter.v1",
        &["what_cannot_be_replayed_is_said"],
    ),
    (
        "too many connections",
        &["past_the_limit_the_oldest_connection_is_closed"],
    ),
    (
        "1. acknowledged is kept",
        &[
            "a_killed_process_loses_nothing",
            "the_one_process_killed_loses_nothing",
            "what_waits_for_a_frozen_postgres_is_unavailable_until_it_thaws",
        ],
    ),
    (
        "2. delivered is stored",
        &[
            "what_waits_for_a_frozen_postgres_is_unavailable_until_it_thaws",
            "a_killed_process_loses_nothing",
        ],
    ),
    (
        "3. one order, no holes",
        &[
            "two_gateways_and_two_replicas_give_one_order",
            "what_the_broker_loses_repeats_or_reorders_is_mended",
        ],
    ),
    (
        "4. once",
        &["a_repeat_is_the_same_message_whenever_and_wherever_it_comes"],
    ),
    (
        "5. resume without a seam",
        &[
            "resuming_has_no_seam_at_any_point",
            "a_client_that_returns_gets_what_it_missed_once_and_in_order",
            "what_cannot_be_replayed_is_said",
        ],
    ),
    (
        "6. only members",
        &[
            "nothing_of_a_channel_reaches_anybody_outside_it",
            "logging_out_closes_that_sessions_sockets_and_no_other",
        ],
    ),
    (
        "client: friendship",
        &[
            "two_people_talk_through_one_process",
            "a_file_in_a_frame_reaches_the_other_side",
            "changes_are_ones_own_and_replies_of_the_same_channel",
        ],
    ),
    (
        "client: friendship_notification_seen, friendship_notification_received",
        &[
            "marks_move_forward_and_are_told_to_both_sides",
            "two_people_talk_through_one_process",
        ],
    ),
    (
        "client: friendship_edit, friendship_delete",
        &["changes_are_ones_own_and_replies_of_the_same_channel"],
    ),
    (
        "client: typing; server: typing",
        &["typing_reaches_the_other_side_only"],
    ),
    (
        "client: resume; server: resumed, resync",
        &[
            "resuming_has_no_seam_at_any_point",
            "what_cannot_be_replayed_is_said",
        ],
    ),
    (
        "client: auth; server: token_expiring",
        &["a_browser_is_warned_and_renews_its_token"],
    ),
    (
        "client: ping",
        &[
            "what_is_no_frame_is_answered_and_a_flood_of_it_ends_the_connection",
            "who_answers_no_pings_is_dropped",
        ],
    ),
    ("server: ready", &["two_people_talk_through_one_process"]),
    (
        "server: token",
        &["an_expired_access_token_is_renewed_at_the_upgrade"],
    ),
    (
        "server: friendship_message, friendship_message_edited, _deleted",
        &[
            "changes_are_ones_own_and_replies_of_the_same_channel",
            "the_log_is_read_as_frames",
        ],
    ),
    (
        "server: ack",
        &["a_repeat_is_the_same_message_whenever_and_wherever_it_comes"],
    ),
    (
        "server: chat_friendship_notification",
        &[
            "two_people_talk_through_one_process",
            "reading_is_receiving_and_the_sender_is_told",
        ],
    ),
    (
        "server: friendship_update",
        &["a_rejection_is_taken_back_by_its_own_side_only"],
    ),
    (
        "server: presence",
        &[
            "friends_see_each_other_come_and_go",
            "strangers_see_nothing_and_former_friends_nothing_more",
        ],
    ),
    (
        "server: goaway; close 1012",
        &["a_rolling_restart_under_traffic_loses_nothing_and_tells_everyone"],
    ),
    (
        "server: error",
        &[
            "what_is_no_frame_is_answered_and_a_flood_of_it_ends_the_connection",
            "a_client_that_is_too_fast_is_told_when_to_go_on",
            "what_waits_for_a_stopped_postgres_is_unavailable_until_it_returns",
            "nothing_of_a_channel_reaches_anybody_outside_it",
        ],
    ),
    ("close 1000", &["a_client_that_closes_is_answered"]),
    (
        "close 1002, 1007",
        &["what_the_protocol_forbids_ends_the_connection"],
    ),
    (
        "close 1008",
        &["what_is_no_frame_is_answered_and_a_flood_of_it_ends_the_connection"],
    ),
    (
        "close 1009",
        &["a_frame_that_is_too_big_is_refused_with_its_code"],
    ),
    (
        "close 1013",
        &["when_nothing_is_heard_of_ended_sessions_nobody_is_believed"],
    ),
    (
        "close 4001",
        &[
            "logging_out_closes_that_sessions_sockets_and_no_other",
            "who_may_not_connect_is_told_so",
        ],
    ),
    (
        "close 4008",
        &["a_slow_reader_is_closed_and_its_neighbour_notices_nothing"],
    ),
    (
        "close 4009",
        &["past_the_limit_the_oldest_connection_is_closed"],
    ),
    (
        "silent for two heartbeats; close 1001",
        &["who_answers_no_pings_is_dropped"],
    ),
];

const EVENTS: &[(&str, &[&str])] = &[
    (
        "rpc.gateway.connections",
        &[
            "a_message_is_followed_from_its_sender_to_its_receiver",
            "a_message_that_waits_for_its_receiver_is_told_as_that",
        ],
    ),
    (
        "send.friendship.<id>",
        &[
            "two_gateways_and_two_replicas_give_one_order",
            "a_repeat_is_the_same_message_whenever_and_wherever_it_comes",
        ],
    ),
    (
        "chat.friendship.<id>.log",
        &[
            "a_crash_between_commit_and_publish_loses_and_invents_nothing",
            "a_stream_that_lost_what_it_had_is_filled_again",
            "a_killed_process_loses_nothing",
        ],
    ),
    (
        "chat.friendship.<id>.mark",
        &[
            "what_is_said_is_what_the_document_says",
            "marks_move_forward_and_are_told_to_both_sides",
        ],
    ),
    (
        "chat.friendship.<id>.typing",
        &["what_is_said_is_what_the_document_says"],
    ),
    (
        "mark.friendship.<id>",
        &["marks_move_forward_and_are_told_to_both_sides"],
    ),
    (
        "presence.user.<user>",
        &[
            "what_is_said_is_what_the_document_says",
            "friends_see_each_other_come_and_go",
        ],
    ),
    (
        "events.users.<user>.<event>",
        &[
            "what_is_said_is_what_the_document_says",
            "a_crash_between_commit_and_publish_loses_and_invents_nothing",
        ],
    ),
    (
        "events.friendships.<id>.<event>",
        &[
            "what_is_said_is_what_the_document_says",
            "several_replicas_publish_once_and_in_order",
        ],
    ),
    (
        "notify.user.<user>",
        &["what_is_said_is_what_the_document_says"],
    ),
    (
        "bucket revoked_sessions",
        &[
            "a_stream_that_lost_what_it_had_is_filled_again",
            "when_nothing_is_heard_of_ended_sessions_nobody_is_believed",
        ],
    ),
    (
        "again.<subject>",
        &[
            "a_frozen_replica_keeps_nobody_waiting",
            "what_is_asked_of_two_replicas_is_stored_once",
        ],
    ),
    (
        "rpc.users.*, rpc.friendships.*, rpc.messages.*",
        &[
            "each_nats_user_may_do_its_own_and_nothing_else",
            "calls_answer_ping_info_and_stats",
        ],
    ),
    (
        "one outcome of rows and events",
        &["a_crash_between_commit_and_publish_loses_and_invents_nothing"],
    ),
    (
        "later versions",
        &[
            "an_event_of_a_later_version_is_passed_over",
            "an_ephemeral_event_of_a_later_version_is_passed_over",
            "an_entry_of_a_later_kind_keeps_its_place_and_is_not_shown",
            "what_a_later_version_adds_is_read_or_passed_over",
        ],
    ),
    (
        "idempotent consumers, dead letters",
        &[
            "a_poisoned_event_is_put_aside_and_can_be_replayed",
            "a_replayed_event_is_processed",
        ],
    ),
    (
        "no service reads another's schema",
        &["each_postgres_role_sees_its_own_schema_alone"],
    ),
    (
        "its own NATS user",
        &[
            "each_nats_user_may_do_its_own_and_nothing_else",
            "nobody_gets_in_without_a_name",
        ],
    ),
    (
        "AsyncAPI",
        &[
            "the_document_is_as_the_types_are",
            "what_is_said_is_what_the_document_says",
        ],
    ),
];

/// The names of all tests, here and beside the code.
fn functions(folder: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            functions(&path.to_string_lossy(), found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            // Behind the attribute of a test, or among properties.
            let tests = text.split("test]\n").skip(1);
            let tests = tests.filter_map(|rest| rest.split("fn ").nth(1));
            let properties = text.split("proptest! {").skip(1);
            let properties = properties.flat_map(|rest| rest.split("fn ").skip(1));
            let names = tests
                .chain(properties)
                .filter_map(|rest| rest.split('(').next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_row_has_a_test() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut there = BTreeSet::new();
    for folder in ["services", "shared", "tests"] {
        functions(&format!("{root}/{folder}"), &mut there);
    }
    for (row, tests) in HTTP.iter().chain(WEBSOCKET).chain(EVENTS) {
        assert!(!tests.is_empty(), "{row}");
        for test in *tests {
            assert!(there.contains(*test), "{row}: there is no {test}");
        }
    }
}

/// What the first cell of a table's row, or the name of a row here, names: part for part.
fn parts(cell: &str) -> Vec<String> {
    let cell = cell.replace('`', "").replace("(**basic**)", "");
    let parts = cell.split(" / ").flat_map(|part| part.split(", "));
    let parts = parts.flat_map(|part| part.split("; "));
    parts.map(|part| part.trim().to_owned()).collect()
}

/// The first cells of the rows of a page's tables, with the name that the table gives its rows.
fn rows(page: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut heading = "";
    let mut table = "";
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        heading = line.strip_prefix("## ").unwrap_or(heading);
        let Some(cell) = line.strip_prefix("| ") else {
            continue;
        };
        let cell = cell.split(" |").next().unwrap_or_default();
        // The head of a table, and the line below it.
        if lines.next_if(|next| next.starts_with("| ---")).is_some() {
            table = cell;
            continue;
        }
        let prefix = match (table, heading) {
            ("frame", "Client → server") => "client: ",
            ("frame", _) => "server: ",
            ("code", _) => "close ",
            _ => "",
        };
        // The table of the friendship endpoints: the list has a row of its own for each of them.
        if table != "method" {
            rows.extend(parts(cell).iter().map(|part| format!("{prefix}{part}")));
        }
    }
    rows
}

/// The rows that a list here names: `server: a, _b; close 1` are `server: a`, `server: _b` and
/// `close 1`.
fn named(list: &[(&str, &[&str])]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, _) in list {
        let mut prefix = String::new();
        for part in parts(name) {
            let marks = ["client: ", "server: ", "close "];
            if let Some(mark) = marks.iter().find(|mark| part.starts_with(**mark)) {
                prefix = (*mark).to_owned();
                names.insert(part);
            } else {
                names.insert(format!("{prefix}{part}"));
            }
        }
    }
    names
}

/// Every row of the pages is in the lists here, with its tests.
#[test]
fn every_row_of_a_page_is_named_here() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let mut unnamed = Vec::new();
    for (page, list) in [
        ("http/HTTP.md", HTTP),
        ("protocol/WEBSOCKET.md", WEBSOCKET),
        ("protocol/EVENTS.md", EVENTS),
    ] {
        let text = fs::read_to_string(format!("{root}/{page}")).expect("it is there");
        let (rows, named) = (rows(&text), named(list));
        assert!(rows.len() > 10, "{page}: {rows:?}");
        let missing = rows.into_iter().filter(|row| !named.contains(row));
        unnamed.extend(missing.map(|row| format!("{page}: {row}")));
    }
    assert_eq!(unnamed, Vec::<String>::new());
}
