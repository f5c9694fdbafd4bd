//! End to end, as a black box: the gateway as a process, real sockets, and a broker; the cases are written from the
//! specification. Most run twice, on the embedded broker (`embedded::…`) and on Apache Kafka (`kafka::…`, ignored where
//! nobody asks for them: `tools/kafka.sh` needs a JVM), and so do those that need clients and servers of gRPC in other
//! languages (`foreign::…`, ignored likewise: `tools/grpc/install.sh` needs network and Go). `SLUICE_BIN` names another
//! binary than the one cargo built, `SLUICE_TEST_KAFKA` a Kafka that runs already.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests read the clock, start threads and lock: they stand outside of the gateway's cores"
)]

mod cases;
mod harness;

/// Makes two tests of each case: on the embedded broker, and on Apache Kafka, shared or for the case alone.
macro_rules! on_both_brokers {
    (shared: { $($module:ident: $($case:ident),+;)+ } own: { $($own_module:ident: $($own_case:ident),+;)+ }) => {
        mod embedded {
            use crate::cases;
            use crate::harness::{Env, broker::Broker};
            $($(
                #[test]
                fn $case() {
                    cases::$module::$case(&Env::new(Broker::embedded()));
                }
            )+)+
            $($(
                #[test]
                fn $own_case() {
                    cases::$own_module::$own_case(&Env::new(Broker::embedded()));
                }
            )+)+
        }
        mod kafka {
            use crate::cases;
            use crate::harness::{Env, broker::Broker};
            $($(
                #[test]
                #[ignore = "needs Apache Kafka: tools/kafka.sh"]
                fn $case() {
                    cases::$module::$case(&Env::new(Broker::shared_kafka()));
                }
            )+)+
            $($(
                #[test]
                #[ignore = "needs Apache Kafka: tools/kafka.sh"]
                fn $own_case() {
                    cases::$own_module::$own_case(&Env::new(Broker::own_kafka()));
                }
            )+)+
        }
    };
}

on_both_brokers! {
    shared: {
        crud:
            an_item_is_written_read_and_deleted,
            curl_does_the_walkthrough,
            a_listed_etag_is_answered_304,
            an_item_of_another_content_type_keeps_it,
            an_empty_body_is_an_empty_value,
            head_is_get_without_the_body,
            what_no_route_takes_is_404,
            a_query_is_not_part_of_the_path,
            a_key_is_percent_decoded_and_may_hold_slashes;
        produce:
            a_delete_leaves_a_null_value_in_kafka,
            a_post_takes_its_key_from_the_idempotency_key,
            a_record_carries_the_content_type_and_nothing_else,
            every_acks_setting_stores_the_record,
            overrides_become_record_headers,
            half_sent_uploads_store_nothing;
        collection:
            two_hundred_concurrent_writes_are_read_back_at_once,
            a_collection_under_constant_rewriting_is_whole,
            a_collection_leaves_out_the_deleted_and_the_empty,
            a_collection_has_an_etag_of_its_state;
        foreign:
            records_of_another_client_appear,
            a_topic_made_anew_may_be_compacted,
            compressed_batches_appear,
            a_key_is_found_in_whatever_partition_it_lies,
            kcat_records_with_repeated_and_null_headers_appear,
            the_topic_is_read_from_its_beginning;
        sizes:
            nine_hundred_kilobytes_go_through,
            eight_megabytes_are_413,
            eight_megabytes_in_chunks_are_413,
            a_chunked_upload_is_stored_whole,
            an_upload_that_asks_first_is_told_to_go_on,
            curl_uploads_after_100_continue;
        wire:
            ten_pipelined_requests_are_answered_in_order,
            a_pipelined_get_sees_the_put_before_it,
            a_pipelined_write_does_not_overtake_the_get_before_it,
            a_connection_serves_many_requests,
            a_connection_closes_when_asked_to,
            http_1_0_is_answered_and_closed,
            a_request_may_come_split_at_every_byte,
            three_hundred_half_open_heads_delay_nobody;
        malformed:
            malformed_requests_are_refused_and_store_nothing,
            ambiguous_bodies_are_never_read_as_a_second_request,
            oversized_heads_are_refused,
            a_tls_hello_is_refused,
            random_bytes_do_no_harm;
        observe:
            the_exporter_counts_what_was_asked,
            events_and_accesses_are_lines_that_nobody_can_forge;
        lifecycle:
            a_restarted_gateway_answers_the_same,
            sigterm_lets_a_request_in_flight_finish,
            sigint_ends_it_in_order,
            a_second_signal_ends_it_at_once,
            a_second_gateway_on_the_port_is_refused,
            a_gateway_takes_over_the_port_of_the_last_at_once;
        examples:
            events_are_stored_whatever_the_method,
            the_cache_answers_with_the_tags_of_the_readme,
            the_replying_script_answers;
        sync:
            a_request_is_answered_by_its_reply,
            a_reply_decides_status_headers_and_body,
            a_reply_cannot_break_the_framing_of_its_answer,
            without_a_reply_it_is_504_in_time,
            a_reply_after_the_504_is_not_the_next_answer,
            a_key_may_come_from_the_body;
        request_record:
            it_has_the_headers_and_the_id_that_zilla_gives_it,
            it_carries_the_headers_in_their_order,
            a_delete_has_an_empty_value,
            of_if_match_the_service_s_part_arrives,
            overrides_come_between_the_reply_topic_and_the_id,
            services_may_have_other_names_for_the_headers;
        idempotency:
            a_repeated_request_is_stored_once,
            without_a_key_every_request_is_its_own,
            a_repeat_is_known_to_other_instances_and_after_a_restart,
            a_reply_that_came_while_nobody_listened_is_found,
            twenty_repeats_at_once_are_stored_once,
            an_exchange_outlives_the_client_that_began_it;
        crossing:
            four_hundred_at_once_each_get_their_own_answer,
            pipelined_requests_are_answered_in_their_order,
            of_several_replies_the_first_one_counts,
            whoever_leaves_takes_nobody_s_answer,
            routes_with_different_reply_topics_keep_apart;
        asynchronous:
            the_reply_is_fetched_later,
            a_waiting_client_is_woken_by_the_reply,
            preferences_come_in_every_form,
            a_location_is_a_path_whatever_the_key_holds,
            any_instance_knows_the_location,
            a_repeated_submission_is_stored_once,
            what_nobody_submitted_is_never_ready;
        waiting:
            a_missing_item_is_awaited,
            a_wait_ends_in_time,
            a_change_of_an_item_is_awaited,
            a_change_of_the_collection_is_awaited,
            no_cache_sees_what_another_client_has_just_stored,
            waiting_clients_that_leave_disturb_nobody,
            sigterm_ends_the_waiting;
        conditional:
            on_a_compacted_topic_a_tag_names_a_record,
            the_etag_of_a_record_is_part_of_its_tag,
            on_another_topic_a_tag_is_a_cursor,
            filters_are_an_or_of_ands;
        events:
            a_stream_begins_at_once_and_goes_on_live,
            an_event_has_the_bytes_of_its_record,
            ids_may_have_the_key,
            of_a_compacted_topic_a_client_gets_the_newest_of_each_key,
            filters_come_from_the_path,
            a_silent_stream_is_kept_alive,
            what_is_no_stream_is_refused,
            a_topic_may_come_later_than_its_clients,
            sigterm_ends_streams_in_order,
            clients_that_leave_are_forgotten,
            times_are_given_to_those_who_ask,
            a_topic_that_is_made_anew_is_a_gap;
        resume:
            at_every_id_another_gateway_goes_on,
            an_id_comes_by_header_or_query,
            an_id_beyond_the_end_is_a_gap;
        fanout:
            two_hundred_clients_of_a_key_get_each_event_once,
            who_reads_late_gets_everything_once,
            the_end_does_not_wait_for_who_reads_nothing;
        tokens:
            who_has_no_good_token_is_told_so,
            a_token_comes_by_cookie_header_or_query,
            who_asks_may_be_part_of_a_record_and_of_a_filter,
            keys_come_from_a_url_and_change,
            without_keys_nobody_is_told_that_a_token_is_bad;
        renewal:
            one_answer_renews_all_streams_of_a_connection,
            what_does_not_cover_a_stream_does_not_renew_it,
            a_stream_that_takes_nothing_is_cut_too,
            without_tls_a_connection_is_cut_when_its_token_ends;
        secured:
            whom_a_certificate_names_may_be_part_of_a_record;
        http2:
            both_versions_are_spoken_on_one_port,
            a_body_that_is_too_large_costs_its_stream_alone,
            a_hundred_streams_are_answered_side_by_side,
            sigterm_says_goodbye_and_finishes_what_is_in_flight,
            floods_end_their_connection_alone,
            a_connection_has_so_many_streams_and_no_more,
            the_preface_decides;
        grpc_kafka:
            a_call_without_a_reply_is_answered_when_it_is_stored,
            a_call_is_its_messages_and_a_null,
            a_correlation_id_is_zilla_s,
            nobody_s_reply_is_a_deadline_and_a_null,
            calls_go_through_kafka_and_back;
        grpc_fetch:
            records_are_messages_that_say_where_to_go_on;
        grpc_volume:
            a_caller_that_takes_its_time_gets_everything;
    }
    own: {
        outage:
            writes_fail_fast_while_the_broker_is_down_and_recover,
            a_gateway_starts_without_its_broker,
            a_silent_broker_is_504_within_the_deadline;
        lifecycle:
            sigterm_waits_for_the_broker_s_answer;
        durability:
            no_acknowledged_write_is_lost_when_the_broker_is_killed;
        events:
            a_stream_outlives_an_outage_of_its_broker;
    }
}

/// Makes tests of cases that need the programs of `tools/grpc`, which are not there unless somebody has asked for them.
macro_rules! with_programs {
    (both: { $($module:ident: $($case:ident),+;)+ } none: { $($own_module:ident: $($own_case:ident),+;)+ }) => {
        mod foreign {
            mod embedded {
                use crate::cases;
                use crate::harness::{Env, broker::Broker};
                $($(
                    #[test]
                    #[ignore = "needs grpcio and grpc-go: tools/grpc/install.sh"]
                    fn $case() {
                        cases::$module::$case(&Env::new(Broker::embedded()));
                    }
                )+)+
            }
            mod kafka {
                use crate::cases;
                use crate::harness::{Env, broker::Broker};
                $($(
                    #[test]
                    #[ignore = "needs Apache Kafka, grpcio and grpc-go: tools/kafka.sh, tools/grpc/install.sh"]
                    fn $case() {
                        cases::$module::$case(&Env::new(Broker::shared_kafka()));
                    }
                )+)+
            }
            mod alone {
                use crate::cases;
                $($(
                    #[test]
                    #[ignore = "needs grpcio and grpc-go: tools/grpc/install.sh"]
                    fn $own_case() {
                        cases::$own_module::$own_case();
                    }
                )+)+
            }
        }
    };
}

with_programs! {
    both: {
        grpc_foreign:
            every_kind_of_call_makes_the_loop,
            a_stream_of_answers_comes_as_it_is_given,
            two_hundred_calls_at_once_get_their_own_answers,
            forty_client_streams_at_once_get_their_own_answers,
            a_failure_comes_back_with_all_that_it_says,
            metadata_makes_the_loop,
            compressed_calls_make_the_loop,
            what_does_not_exist_is_unimplemented,
            a_service_that_is_down_is_a_deadline_and_later_calls_are_answered,
            a_service_that_comes_late_is_called_again,
            a_repeat_gets_the_same_answer_and_is_served_once,
            repeats_at_once_are_served_once,
            who_leaves_is_said_to_have_left,
            a_gateway_that_ends_finishes_the_calls_that_it_has;
        grpc_fetch:
            three_hundred_records_are_taken_in_pieces,
            a_browser_reads_the_records;
        grpc_volume:
            long_streams_make_the_loop,
            large_messages_make_the_loop_or_are_refused,
            thousands_of_slow_calls_are_all_answered,
            more_streams_than_there_is_room_for_end_nevertheless;
        grpc_crash:
            a_killed_gateway_leaves_no_call_without_an_end,
            two_gateways_share_the_calls_and_one_takes_over,
            calls_outlive_that_their_partition_changes_hands;
    }
    none: {
        grpc_proxy:
            calls_of_every_kind_are_passed_on,
            calls_are_passed_on_over_tls,
            clients_come_over_tls,
            deadlines_and_ends_are_passed_on,
            a_service_that_is_not_there_is_unavailable,
            browsers_are_passed_on,
            grpcurl_finds_out_what_there_is;
    }
}

/// What only one kind of broker can do, and what needs none.
mod only {
    use crate::cases::{
        cli, cross_origin, durability, files, foreign, grpc, grpc_web, http_proxy, http2, observe,
        quickstart, resume, secured,
    };
    use crate::harness::{Env, broker::Broker};

    #[test]
    fn answers_that_get_lost_are_neither_lost_nor_repeated_writes() {
        durability::answers_that_get_lost();
    }

    #[test]
    fn a_topic_is_not_read_before_it_is_known_to_be_compacted() {
        foreign::a_late_configuration();
    }

    #[test]
    fn late_answers_are_awaited() {
        durability::late_answers();
    }

    #[test]
    fn retriable_refusals_are_retried() {
        durability::retriable_refusals();
    }

    #[test]
    #[ignore = "needs Apache Kafka: tools/kafka.sh"]
    fn kafka_no_acknowledged_write_is_lost_when_a_leader_dies() {
        durability::leader_change();
    }

    #[test]
    #[ignore = "needs Apache Kafka: tools/kafka.sh"]
    fn kafka_an_aborted_transaction_is_never_seen() {
        foreign::aborted_transaction(&Env::new(Broker::shared_kafka()));
    }

    #[test]
    #[ignore = "needs Apache Kafka: tools/kafka.sh"]
    fn kafka_compressed_batches_of_the_java_client_appear() {
        foreign::java_compression(&Env::new(Broker::shared_kafka()));
    }

    #[test]
    fn what_retention_took_is_a_gap() {
        resume::what_retention_took_is_a_gap(&Env::new(Broker::embedded()));
    }

    #[test]
    fn a_protocol_and_a_version_are_agreed_on() {
        secured::a_protocol_and_a_version_are_agreed_on();
    }

    #[test]
    fn only_names_that_are_served_are_let_in() {
        secured::only_names_that_are_served_are_let_in();
    }

    #[test]
    fn certificates_give_roles() {
        secured::certificates_give_roles();
    }

    #[test]
    fn who_shakes_no_hands_is_let_go_and_disturbs_nobody() {
        secured::who_shakes_no_hands_is_let_go_and_disturbs_nobody();
    }

    #[test]
    fn keys_are_read_anew() {
        secured::keys_are_read_anew();
    }

    #[test]
    fn sessions_are_taken_up_on_whatever_core() {
        secured::sessions_are_taken_up_on_whatever_core();
    }

    #[test]
    fn without_a_policy_other_origins_are_refused() {
        cross_origin::without_a_policy_other_origins_are_refused();
    }

    #[test]
    fn any_origin_may_be_let_in() {
        cross_origin::any_origin_may_be_let_in();
    }

    #[test]
    fn some_origins_may_do_some_things() {
        cross_origin::some_origins_may_do_some_things();
    }

    #[test]
    fn a_stream_that_takes_nothing_is_reset_and_disturbs_nobody() {
        http2::a_stream_that_takes_nothing_is_reset_and_disturbs_nobody();
    }

    #[test]
    fn files_are_served_and_known_again() {
        files::files_are_served_and_known_again();
    }

    #[test]
    fn nothing_outside_of_the_directory_is_served() {
        files::nothing_outside_of_the_directory_is_served();
    }

    #[test]
    fn an_echo_answers_with_what_it_is_sent() {
        files::an_echo_answers_with_what_it_is_sent();
    }

    #[test]
    fn the_quick_start_works_without_any_file() {
        quickstart::walkthrough();
    }

    #[test]
    fn an_exporter_s_port_that_is_taken_is_named() {
        observe::taken_port();
    }

    #[test]
    fn metrics_that_nobody_has_are_explained() {
        observe::nobody_answers();
    }

    #[test]
    fn a_good_file_passes_the_check() {
        cli::good_file();
    }

    #[test]
    fn the_files_in_config_pass_the_check() {
        cli::shipped_files();
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        cli::bad_file();
    }

    #[test]
    fn start_refuses_a_bad_file() {
        cli::start_with_a_bad_file();
    }

    #[test]
    fn an_unset_variable_is_named() {
        cli::unset_variable();
    }

    #[test]
    fn a_missing_file_is_named() {
        cli::missing_file();
    }

    #[test]
    fn calls_of_every_kind_are_answered() {
        grpc::calls_of_every_kind_are_answered();
    }

    #[test]
    fn a_message_may_be_cut_anywhere() {
        grpc::a_message_may_be_cut_anywhere();
    }

    #[test]
    fn messages_may_be_compressed() {
        grpc::messages_may_be_compressed();
    }

    #[test]
    fn a_message_has_a_size_at_most() {
        grpc::a_message_has_a_size_at_most();
    }

    #[test]
    fn what_is_no_call_is_refused() {
        grpc::what_is_no_call_is_refused();
    }

    #[test]
    fn a_deadline_is_kept() {
        grpc::a_deadline_is_kept();
    }

    #[test]
    fn its_health_can_be_asked_for() {
        grpc::its_health_can_be_asked_for();
    }

    #[test]
    fn a_client_that_resets_disturbs_nobody() {
        grpc::a_client_that_resets_disturbs_nobody();
    }

    #[test]
    fn browsers_call_over_http_1_1() {
        grpc_web::browsers_call_over_http_1_1();
    }

    #[test]
    fn browsers_call_in_text() {
        grpc_web::browsers_call_in_text();
    }

    #[test]
    fn a_text_may_come_cut_at_every_byte() {
        grpc_web::a_text_may_come_cut_at_every_byte();
    }

    #[test]
    fn a_web_stream_is_answered_message_by_message() {
        grpc_web::a_web_stream_is_answered_message_by_message();
    }

    #[test]
    fn requests_and_answers_go_on_as_they_came() {
        http_proxy::requests_and_answers_go_on_as_they_came();
    }

    #[test]
    fn what_is_about_a_connection_goes_no_further() {
        http_proxy::what_is_about_a_connection_goes_no_further();
    }

    #[test]
    fn bodies_go_on_as_they_come() {
        http_proxy::bodies_go_on_as_they_come();
    }

    #[test]
    fn connections_are_used_again() {
        http_proxy::connections_are_used_again();
    }

    #[test]
    fn what_the_server_does_not_answer_is_told() {
        http_proxy::what_the_server_does_not_answer_is_told();
    }

    #[test]
    fn only_what_may_be_repeated_is_repeated() {
        http_proxy::only_what_may_be_repeated_is_repeated();
    }

    #[test]
    fn the_server_may_speak_http_2() {
        http_proxy::the_server_may_speak_http_2();
    }
}
