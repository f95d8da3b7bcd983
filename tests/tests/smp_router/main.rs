//! What clients do with a router, on every runtime of theirs, with every store of its.
//!
//! The router is the one that operators run, in this process: sockets of the loopback, TLS, and files where it keeps something.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod client;
mod router;
mod scenarios;

/// Makes a test of every scenario, for one runtime and one store.
macro_rules! scenarios {
    ($($module:ident: $runtime:ty, $store:ident;)*) => {
        $(
            mod $module {
                scenarios! { cases $runtime, $store:
                    a_contact_address_is_read_by_anybody,
                    a_full_queue_says_so_until_it_was_emptied,
                    a_link_is_read_by_the_one_who_secures_the_queue,
                    a_message_has_a_size,
                    a_notifier_is_told_of_messages,
                    a_queue_changes_its_keys_and_its_state,
                    a_relay_is_reached_through_a_proxy,
                    a_subscription_is_taken_over,
                    a_thousand_questions_are_answered_in_order,
                    messages_are_received_one_by_one,
                    the_life_of_a_queue,
                    what_is_kept_survives_a_restart,
                    what_many_clients_do_at_a_time_is_apart,
                }
            }
        )*
    };
    (cases $runtime:ty, $store:ident: $($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                let router = crate::router::Router::start(crate::router::Kept::$store);
                <$runtime as simplex_tests::conformance::Runtime>::run(|network| {
                    crate::scenarios::$case(network, router)
                });
            }
        )*
    };
}

scenarios! {
    tokio_memory: simplex_runtime_tokio::Tokio, InMemory;
    tokio_embedded: simplex_runtime_tokio::Tokio, OnDisk;
    smol_memory: simplex_runtime_smol::Smol, InMemory;
    smol_embedded: simplex_runtime_smol::Smol, OnDisk;
    async_std_memory: simplex_runtime_async_std::AsyncStd, InMemory;
    async_std_embedded: simplex_runtime_async_std::AsyncStd, OnDisk;
}
