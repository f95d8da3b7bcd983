//! Why a proxy did not connect.

/// Why a proxy did not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocksError {
    /// It speaks another protocol, or another version of this one.
    #[error("not a SOCKS5 proxy: it answers with version {0}")]
    Version(u8),
    /// It accepts none of the ways to authenticate that were offered.
    #[error("it wants another authentication")]
    NoMethod,
    /// It chose a way to authenticate that was not offered.
    #[error("it chose authentication {0}, which was not offered")]
    Method(u8),
    /// It takes no names, so that it cannot keep sessions apart.
    #[error("it cannot keep sessions apart; write @ before its address to go without")]
    NotIsolated,
    /// It did not accept name and password.
    #[error("name or password was not accepted")]
    Authentication,
    /// It refused to connect.
    #[error(transparent)]
    Refused(Refusal),
    /// It connected, but says so in a form that nobody knows.
    #[error("unknown type of address {0}")]
    AddressType(u8),
}

/// The proxy's own words for why it did not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something went wrong.
    #[error("general failure")]
    GeneralFailure,
    /// Its rules do not allow this target.
    #[error("not allowed by its rules")]
    NotAllowed,
    /// There is no way to the network.
    #[error("network unreachable")]
    NetworkUnreachable,
    /// There is no way to the host.
    #[error("host unreachable")]
    HostUnreachable,
    /// The target refused.
    #[error("connection refused")]
    ConnectionRefused,
    /// The way was too long.
    #[error("time to live expired")]
    TtlExpired,
    /// It cannot connect.
    #[error("command not supported")]
    CommandNotSupported,
    /// It cannot connect to names, or to addresses of this kind.
    #[error("type of address not supported")]
    AddressTypeNotSupported,
    /// Tor: the onion service is not known.
    #[error("onion service not found")]
    OnionNotFound,
    /// Tor: what is published of the onion service is invalid.
    #[error("onion service descriptor invalid")]
    OnionInvalid,
    /// Tor: the onion service did not answer the introduction.
    #[error("onion service introduction failed")]
    IntroductionFailed,
    /// Tor: the onion service did not come to the rendezvous.
    #[error("onion service rendezvous failed")]
    RendezvousFailed,
    /// Tor: the onion service wants its clients authorised.
    #[error("onion service wants authorisation")]
    AuthorisationMissing,
    /// Tor: the onion service does not know this client.
    #[error("onion service refuses the authorisation")]
    AuthorisationWrong,
    /// Tor: the name is no onion address.
    #[error("not an onion address")]
    OnionAddress,
    /// Tor: the onion service took too long.
    #[error("onion service introduction timed out")]
    IntroductionTimedOut,
    /// Something that has no name.
    #[error("unknown refusal {0}")]
    Other(u8),
}

impl From<u8> for Refusal {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::GeneralFailure,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::ConnectionRefused,
            6 => Self::TtlExpired,
            7 => Self::CommandNotSupported,
            8 => Self::AddressTypeNotSupported,
            0xF0 => Self::OnionNotFound,
            0xF1 => Self::OnionInvalid,
            0xF2 => Self::IntroductionFailed,
            0xF3 => Self::RendezvousFailed,
            0xF4 => Self::AuthorisationMissing,
            0xF5 => Self::AuthorisationWrong,
            0xF6 => Self::OnionAddress,
            0xF7 => Self::IntroductionTimedOut,
            other => Self::Other(other),
        }
    }
}
