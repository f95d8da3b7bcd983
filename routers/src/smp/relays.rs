//! Sessions with relays.

use simplex_runtime_tokio::Tokio;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::error::BrokerError;
use simplex_sans_io::smp::router::{ProxyRequest, Ticket};
use simplex_sans_io::smp::{BrokerMessage, ErrorType, ProxyError};
use tokio::sync::mpsc;

use super::core::{CoreHandle, answered};
use super::settings::Proxy as Settings;

pub(crate) async fn run(
    _: Settings,
    _: Tokio,
    _: Rng,
    core: CoreHandle,
    mut asked: mpsc::UnboundedReceiver<(Ticket, ProxyRequest)>,
) {
    while let Some((ticket, _)) = asked.recv().await {
        let error = ProxyError::Broker {
            error: BrokerError::Host,
        };
        answered(
            &core,
            ticket,
            BrokerMessage::Err(ErrorType::Proxy { error }),
        );
    }
}
