//! A SOCKS5 proxy, as small as it can be.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use simplex_sans_io::drive::{Io, Listener, connect};
use simplex_sans_io::socks::Target;

use super::Runtime;
use super::peers::{PATIENCE, close, read_exact, write};

/// What a proxy wants, and what it has heard.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) method: u8,
    /// What it knows names as.
    pub(super) names: BTreeMap<String, IpAddr>,
    /// The users and targets of its clients.
    pub(super) heard: Arc<Mutex<Vec<(String, String)>>>,
}

pub(super) const OPEN: u8 = 0;
pub(super) const NAMED: u8 = 2;

impl Proxy {
    pub(super) fn new(method: u8) -> Self {
        Self {
            method,
            names: BTreeMap::new(),
            heard: Arc::default(),
        }
    }

    /// Serves that many clients, one after the other.
    pub(super) async fn serve<R: Runtime>(
        self,
        network: R,
        mut listener: Listener<R::Socket, R::Clock>,
        clients: usize,
    ) {
        for _ in 0..clients {
            let (client, _) = listener.accept().await.unwrap();
            // A client may leave whenever it wants.
            self.client(&network, client).await.ok();
        }
    }

    async fn client<R: Runtime>(&self, network: &R, mut client: R::Stream) -> io::Result<()> {
        let mut head = [0; 2];
        read_exact(&mut client, &mut head).await?;
        let mut methods = vec![0; head[1].into()];
        read_exact(&mut client, &mut methods).await?;
        if !methods.contains(&self.method) {
            write(&mut client, &[5, 0xff]).await?;
            return close(&mut client).await;
        }
        write(&mut client, &[5, self.method]).await?;
        let mut user = String::new();
        if self.method == NAMED {
            read_exact(&mut client, &mut head[..1]).await?;
            user = short(&mut client).await?;
            short(&mut client).await?;
            write(&mut client, &[1, 0]).await?;
        }
        let target = self.target(&mut client).await?;
        self.heard.lock().unwrap().push((user, target.to_string()));
        let Ok(upstream) = connect(network, &target, PATIENCE).await else {
            write(&mut client, &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            return close(&mut client).await;
        };
        write(&mut client, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        relay(client, upstream).await
    }

    async fn target(&self, client: &mut impl Io) -> io::Result<Target> {
        let mut head = [0; 4];
        read_exact(client, &mut head).await?;
        let host: IpAddr = match head[3] {
            1 => {
                let mut octets = [0; 4];
                read_exact(client, &mut octets).await?;
                octets.into()
            }
            3 => {
                let name = short(client).await?;
                *self.names.get(&name).ok_or(io::ErrorKind::NotFound)?
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut port = [0; 2];
        read_exact(client, &mut port).await?;
        Ok(std::net::SocketAddr::new(host, u16::from_be_bytes(port)).into())
    }
}

async fn short(client: &mut impl Io) -> io::Result<String> {
    let mut length = [0];
    read_exact(client, &mut length).await?;
    let mut text = vec![0; length[0].into()];
    read_exact(client, &mut text).await?;
    String::from_utf8(text).map_err(io::Error::other)
}

/// Carries bytes in both directions until both have ended.
async fn relay(client: impl Io, upstream: impl Io) -> io::Result<()> {
    let (client, upstream) = (Mutex::new(client), Mutex::new(upstream));
    let mut there = pin!(carry(&client, &upstream));
    let mut back = pin!(carry(&upstream, &client));
    let mut ended = [None, None];
    poll_fn(|cx| {
        if ended[0].is_none()
            && let Poll::Ready(result) = there.as_mut().poll(cx)
        {
            ended[0] = Some(result);
        }
        if ended[1].is_none()
            && let Poll::Ready(result) = back.as_mut().poll(cx)
        {
            ended[1] = Some(result);
        }
        match ended.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    Ok(())
}

/// One direction. Streams are locked for single polls only.
async fn carry(from: &Mutex<impl Io>, to: &Mutex<impl Io>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = poll_fn(|cx| from.lock().unwrap().poll_read(cx, &mut buffer)).await?;
        if count == 0 {
            return poll_fn(|cx| to.lock().unwrap().poll_close(cx)).await;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let slice = [io::IoSlice::new(rest)];
            let count = poll_fn(|cx| to.lock().unwrap().poll_write(cx, &slice)).await?;
            rest = &rest[count..];
        }
    }
}
