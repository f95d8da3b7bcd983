//! Texts: addresses, hosts, names, base64url, numbers and times.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::smp::{NameInfo, SimplexDomain};
use crate::wire::text::{base64url, parse_base64url, parse_i64, parse_u16};
use crate::wire::utc::UtcTime;
use crate::wire::{KeyHash, ServerAddress, SmpScheme, TransportHost, VersionRange};

/// Every text that some protocol has, from arbitrary bytes.
pub fn text(data: &[u8]) {
    let Some((_, bytes)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    printed_alike::<TransportHost>(text);
    printed_alike::<KeyHash>(text);
    printed_alike::<VersionRange>(text);
    printed_alike::<SimplexDomain>(text);
    printed_alike::<NameInfo>(text);
    printed_alike::<UtcTime>(text);
    printed_alike::<ServerAddress<SmpScheme>>(text);
    if let Ok((address, password)) = ServerAddress::<SmpScheme>::parse_with_password(text) {
        let printed = match &password {
            Some(password) => address.to_string_with_password(password),
            None => address.to_string(),
        };
        let again = ServerAddress::parse_with_password(&printed);
        assert_eq!(again, Ok((address, password)));
    }
    if let Ok(bytes) = parse_base64url(text) {
        let canonical = base64url(&bytes);
        assert_eq!(canonical.trim_end_matches('='), text.trim_end_matches('='));
    }
    if let Ok(number) = parse_u16(text) {
        assert_eq!(parse_i64(text), Ok(number.into()));
    }
}

/// What a text means is printed as a text that means the same.
fn printed_alike<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>().ok();
        assert_eq!(again, Some(value), "another value is printed");
    }
}
