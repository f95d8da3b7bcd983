//! The runtimes under test.

use std::io;

use simplex_runtime_async_std::AsyncStd;
use simplex_runtime_smol::Smol;
use simplex_runtime_tokio::Tokio;
use simplex_sans_io::drive::{Listener, queue};

use super::Runtime;

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

impl Runtime for Tokio {
    type Socket = simplex_runtime_tokio::Socket;

    fn run<F: Future>(test: impl FnOnce(Self) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { test(Self::new()).await })
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = tokio::spawn(future);
        async { task.await.unwrap() }
    }

    async fn listen(&self) -> io::Result<Listener<Self::Socket, Self::Clock>> {
        self.listen(LOOPBACK.into()).await
    }
}

impl Runtime for Smol {
    type Socket = simplex_runtime_smol::Socket;

    fn run<F: Future>(test: impl FnOnce(Self) -> F) -> F::Output {
        smol::block_on(test(Self::new()))
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        // A task of smol ends when it is dropped.
        let (sender, mut receiver) = queue(1);
        smol::spawn(async move {
            sender.send(future.await).await.ok();
        })
        .detach();
        async move { receiver.next().await.unwrap() }
    }

    async fn listen(&self) -> io::Result<Listener<Self::Socket, Self::Clock>> {
        self.listen(LOOPBACK.into()).await
    }
}

impl Runtime for AsyncStd {
    type Socket = simplex_runtime_async_std::Socket;

    fn run<F: Future>(test: impl FnOnce(Self) -> F) -> F::Output {
        async_std::task::block_on(test(Self::new()))
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        async_std::task::spawn(future)
    }

    async fn listen(&self) -> io::Result<Listener<Self::Socket, Self::Clock>> {
        self.listen(LOOPBACK.into()).await
    }
}
