//! The links of connections: long ones, which hold all that is needed to connect, and short ones, which lead to it.
//!
//! ```
//! use simplex_sans_io::agent::link::ConnectionRequest;
//!
//! let link = "simplex:/contact#/?v=2-7&smp=smp%3A%2F%2Ff1Z6bEtdd6Bu1bhHUmGyZlGkN5WNgwE2GSM8q5v9FYQ%3D%40smp.example%2FO-cwMlXLe79ceire76GZOaNL7224XfdG\
//! %23%2F%3Fv%3D1-4%26dh%3DMCowBQYDK2VuAyEAyHju8LUCi_Kkr02RLtXQa20ptGZnd7ci2WxiOAHWsHo%253D%26q%3Dc";
//! let request: ConnectionRequest = link.parse()?;
//! assert!(matches!(request, ConnectionRequest::Contact(_)));
//! assert_eq!(request.to_string(), link);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod request;
mod short;
mod text;

pub use self::request::{ClientData, ConnectionRequest, RequestData};
pub use self::short::{InvitationShortLink, LinkScheme, LinkTarget, ShortLink};
pub use self::text::{LinkTextError, ServiceScheme};

pub(super) use self::text::Parameters;
