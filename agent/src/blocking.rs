//! For programs without a runtime: waiting for a future in a thread.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until a future is done.
///
/// The agent's own future runs in a thread with this, and the application's calls in others. The network has to be one whose timers and
/// sockets need no runtime around them: that of smol is.
///
/// ```
/// assert_eq!(simplex_agent::block_on(async { 7 }), 7);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::drive::queue;

    #[test]
    fn a_thread_waits_for_another_one() {
        let (sender, mut receiver) = queue(1);
        let other = thread::spawn(move || block_on(sender.send(7)));
        assert_eq!(block_on(receiver.next()), Some(7));
        other.join().unwrap().unwrap();
    }
}
