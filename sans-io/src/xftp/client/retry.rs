//! What is to become of a request that was not answered: done again, but never so that something is done twice.

use super::{Answer, Ask, RequestError};
use crate::xftp::ErrorType;

/// The attempts at one request.
///
/// ```
/// use simplex_sans_io::xftp::ErrorType;
/// use simplex_sans_io::xftp::client::{Answer, Ask, Attempts, RequestError, Verdict};
///
/// // The file may be deleted or not, when the connection is lost: so it is deleted again …
/// let mut attempts = Attempts::of(&Ask::Delete, 3);
/// assert_eq!(attempts.judge(Err(RequestError::Disconnected)), Verdict::Again);
/// // … and that it is not there any more means that it was.
/// let auth = RequestError::Protocol(ErrorType::Auth);
/// assert_eq!(attempts.judge(Err(auth)), Verdict::Done(Answer::Done));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempts {
    repeated: Repeated,
    left: u32,
    /// Whether one of them may have had an effect.
    effect: Effect,
}

/// What a request does that is done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeated {
    /// The same.
    Same,
    /// The same, and the answer the second time is that there is nothing.
    Gone,
    /// Something more.
    More,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Possible,
}

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done(Answer),
    /// It is to be sent again, in another session if this one has ended.
    Again,
    /// It has failed. If its effect is not known, it is for the owner to say what that means.
    Failed(RequestError),
}

impl Attempts {
    /// So many attempts at a request.
    #[must_use]
    pub const fn of(ask: &Ask, attempts: u32) -> Self {
        Self {
            repeated: match ask {
                // The router keeps what was uploaded first, and both have the same digest.
                Ask::Upload { .. } | Ask::Download { .. } | Ask::Ping => Repeated::Same,
                Ask::Delete | Ask::Acknowledge => Repeated::Gone,
                Ask::Create(_) | Ask::AddRecipients(_) => Repeated::More,
            },
            left: attempts,
            effect: Effect::None,
        }
    }

    /// What is to be done after this outcome.
    pub fn judge(&mut self, outcome: Result<Answer, RequestError>) -> Verdict {
        self.left = self.left.saturating_sub(1);
        let error = match outcome {
            Ok(answer) => return Verdict::Done(answer),
            Err(error) => error,
        };
        let gone = error == RequestError::Protocol(ErrorType::Auth);
        if gone && self.effect == Effect::Possible && self.repeated == Repeated::Gone {
            return Verdict::Done(Answer::Done);
        }
        if !error.is_without_effect() {
            self.effect = Effect::Possible;
        }
        let harmless = self.repeated != Repeated::More || self.effect == Effect::None;
        match self.left > 0 && harmless && error.is_transient() {
            true => Verdict::Again,
            false => Verdict::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::x25519;
    use crate::wire::NonEmpty;

    fn add() -> Ask {
        let key = x25519::PublicKey::from_bytes([1; 32]);
        Ask::AddRecipients(NonEmpty::one(key.into()))
    }

    #[test]
    fn what_may_have_been_done_is_not_done_again_if_that_is_more() {
        let lost = RequestError::TimedOut;
        assert_eq!(
            Attempts::of(&add(), 3).judge(Err(lost)),
            Verdict::Failed(lost)
        );
        let mut attempts = Attempts::of(&add(), 3);
        assert_eq!(attempts.judge(Err(RequestError::Refused)), Verdict::Again);
        assert_eq!(attempts.judge(Err(lost)), Verdict::Failed(lost));
        let mut upload = Attempts::of(&Ask::Upload { size: 1 }, 3);
        assert_eq!(upload.judge(Err(lost)), Verdict::Again);
        assert_eq!(upload.judge(Err(lost)), Verdict::Again);
        assert_eq!(upload.judge(Err(lost)), Verdict::Failed(lost));
    }

    #[test]
    fn auth_is_a_refusal_unless_it_may_be_our_own_doing() {
        let auth = RequestError::Protocol(ErrorType::Auth);
        for ask in [Ask::Delete, Ask::Acknowledge] {
            let mut attempts = Attempts::of(&ask, 3);
            assert_eq!(attempts.judge(Err(auth)), Verdict::Failed(auth));
        }
        let mut download = Attempts::of(
            &Ask::Download {
                size: 1,
                digest: [0; 32],
            },
            3,
        );
        download.judge(Err(RequestError::Disconnected));
        assert_eq!(download.judge(Err(auth)), Verdict::Failed(auth));
    }

    #[test]
    fn what_will_not_change_is_not_tried_again() {
        for error in [ErrorType::Quota, ErrorType::Size, ErrorType::NoFile] {
            let error = RequestError::Protocol(error);
            let mut attempts = Attempts::of(&Ask::Upload { size: 1 }, 3);
            assert_eq!(attempts.judge(Err(error)), Verdict::Failed(error));
        }
    }
}
