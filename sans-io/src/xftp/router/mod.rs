//! The files of an XFTP router.

pub mod store;
