//! The page without TLS, for a reverse proxy or a network of one's own.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use simplex_runtime_tokio::{Stream, Tokio};
use simplex_sans_io::drive::{Clock as _, Network as _, Owner, Policy, drive};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Site, Web};
use crate::ports::{self, PortError, Reach};

/// How many browsers at a time; further ones wait.
const BROWSERS: usize = 256;

/// Serves browsers on this port, if there is one: where.
pub(crate) async fn open(
    tasks: &mut JoinSet<()>,
    port: Option<u16>,
    network: Tokio,
    site: watch::Receiver<Arc<Site>>,
) -> Result<Option<SocketAddr>, PortError> {
    let serve = move |stream| {
        let clock = network.clock();
        let web = Web::<(), ()>::new(Arc::clone(&site.borrow()), clock.now());
        async move {
            let browser = pin!(drive(web, Stream(stream), clock, Nobody, Policy::ROUTER));
            if let Err(error) = browser.await {
                tracing::debug!(%error, "a browser is gone");
            }
        }
    };
    ports::open(tasks, port, Reach::World, BROWSERS, serve).await
}

/// Nobody has anything to say to a browser.
pub(crate) struct Nobody;

impl Owner for Nobody {
    type Command = ();
    type Event = ();

    fn poll_command(&mut self, _: &mut Context<'_>) -> Poll<Option<()>> {
        Poll::Pending
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn tell(&mut self, (): ()) {}
}
