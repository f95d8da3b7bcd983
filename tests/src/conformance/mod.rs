//! What every runtime must do: one suite, instantiated for each by [`conformance!`](crate::conformance!).
//!
//! A case is an async function in [`cases`] over any [`Runtime`]; its name in the list of the macro makes it a test. Everything goes through
//! the public parts of a runtime, over real sockets of the loopback, or whatever else the runtime takes for its network.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a result that is missing fails the test"
)]

pub mod cases;
pub mod in_memory;
mod peers;
mod proxy;
mod routers;
mod runtimes;
pub mod smp;

use std::io;

use simplex_sans_io::drive::{Listen, Listener, Network};

/// A runtime under test.
pub trait Runtime:
    Network<Stream: Send + 'static, Clock: Send + 'static> + Clone + Send + Sync + 'static
{
    /// Its listening socket.
    type Socket: Listen<Stream = Self::Stream> + Send + Sync + 'static;

    /// Runs a test on a runtime of its own.
    fn run<F: Future>(test: impl FnOnce(Self) -> F) -> F::Output;

    /// Runs a future beside the caller, also if what is returned, which waits for its output, is dropped.
    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Listens somewhere on the loopback.
    fn listen(
        &self,
    ) -> impl Future<Output = io::Result<Listener<Self::Socket, Self::Clock>>> + Send;
}

/// Makes a test of every case, for one runtime.
#[macro_export]
macro_rules! conformance {
    ($runtime:ty) => {
        $crate::conformance! { $runtime:
            a_burst_of_commands,
            a_connection_that_is_refused_is_an_error,
            a_handle_that_is_dropped_closes_the_connection,
            a_peer_that_reads_nothing_is_cut_off,
            a_proxy_connects_to_addresses_and_names,
            a_proxy_that_refuses_says_why,
            a_relay_gets_what_a_proxy_forwards,
            a_router_and_its_client_flood_each_other,
            a_session_that_is_to_be_isolated_is_isolated,
            a_session_with_an_smp_router,
            a_stream_that_ends_inside_a_frame_is_truncated,
            a_thousand_commands_in_flight,
            a_timer_can_be_reset,
            a_timer_expires_while_a_write_is_blocked,
            accepting_can_be_abandoned_anywhere,
            byte_by_byte,
            connecting_can_be_abandoned_anywhere,
            echo,
            echo_through_tls,
            half_a_stream_still_carries_the_answer,
            names_are_resolved_and_all_addresses_tried,
            onion_names_need_a_proxy,
            subscriptions_outlive_a_restart_of_the_router,
            the_life_of_a_queue,
            timers_expire_in_order,
            two_floods_pass_each_other,
        }
    };
    ($runtime:ty: $($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                <$runtime as $crate::conformance::Runtime>::run($crate::conformance::cases::$case);
            }
        )*
    };
}
