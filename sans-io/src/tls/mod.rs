//! TLS as a machine around another machine.
mod ambient;
mod config;
mod connection;
mod credentials;
mod error;
mod exchange;
mod finished;
mod session;
mod signature;
mod suites;
mod verify;

pub use config::{
    ClientCertificates, ClientConfig, ClientOptions, Groups, Limits, ServerConfig, ServerOptions,
    Versions, Web,
};
pub use connection::Tls;
pub use credentials::{Credentials, CredentialsError, WebCredentials};
pub use error::{ConfigError, Error, TlsError};
pub use finished::UnexpectedFinished;
pub use verify::CertificateRefused;

#[cfg(test)]
mod tests;
