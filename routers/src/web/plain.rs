//! The page without TLS, for a reverse proxy or a network of one's own.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use simplex_runtime_tokio::{Stream, Tokio};
use simplex_sans_io::drive::{Clock as _, Network as _, Owner, Policy, drive};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Site, Web};

/// How many browsers at a time; further ones wait.
const BROWSERS: usize = 256;

/// Serves browsers until the future is dropped.
pub(crate) async fn listen(
    listener: TcpListener,
    network: Tokio,
    site: watch::Receiver<Arc<Site>>,
) {
    let mut browsers = JoinSet::new();
    loop {
        while browsers.len() >= BROWSERS {
            browsers.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let clock = network.clock();
                let site = Arc::clone(&site.borrow());
                let web = Web::<(), ()>::new(site, clock.now());
                browsers.spawn(async move {
                    let browser = pin!(drive(web, Stream(stream), clock, Nobody, Policy::ROUTER));
                    if let Err(error) = browser.await {
                        tracing::debug!(%error, "a browser is gone");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the page cannot accept connections now");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while browsers.try_join_next().is_some() {}
    }
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
