//! The addresses of routers.

use serde_json::{Value, json};
use simplex_sans_io::wire::{
    self, AddressError, BasicAuth, Scheme, ServerAddress, SmpScheme, Version,
};
use simplex_tests::vectors::{Comparison, cases, hexed, text};

use super::FILE;

/// The addresses of XFTP routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum XftpScheme {}

impl Scheme for XftpScheme {
    const NAME: &'static str = "xftp";
    const PORT: u16 = 443;
}

/// The addresses of NTF routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum NtfScheme {}

impl Scheme for NtfScheme {
    const NAME: &'static str = "ntf";
    const PORT: u16 = 443;
}

pub(super) fn server_addresses(group: &Value) {
    let mut comparison = Comparison::of(FILE, "server_addresses");
    for case in cases(group) {
        let address = text(&case["address"]);
        let parsed = parsed::<SmpScheme>(address)
            .or_else(|_| parsed::<XftpScheme>(address))
            .or_else(|_| parsed::<NtfScheme>(address));
        comparison.outcome(address, parsed, case);
    }
    comparison.finish();
}

fn parsed<S: Scheme>(text: &str) -> Result<Value, AddressError> {
    let (address, password) = ServerAddress::<S>::parse_with_password(text)?;
    let reencoded = match &password {
        None => address.to_string(),
        Some(password) => address.to_string_with_password(password),
    };
    let hosts = address.hosts().iter().map(ToString::to_string);
    let password = password.as_ref().map(BasicAuth::as_bytes);
    let password = password.map(|password| std::str::from_utf8(password).unwrap());
    Ok(json!({
        "protocol": S::NAME,
        "hosts": hosts.collect::<Vec<_>>(),
        "port": address.port().map_or_else(String::new, |port| port.to_string()),
        "key_hash": hexed(&**address.key_hash()),
        "password": password,
        "reencoded": reencoded,
    }))
}

pub(super) fn smp_server_encoding(group: &Value) {
    let mut comparison = Comparison::of(FILE, "smp_server_encoding");
    for case in cases(group) {
        let address = text(&case["address"]);
        let ours = address.parse::<ServerAddress<SmpScheme>>().map(|address| {
            let encoded = wire::encode(&address, Version(0));
            assert_eq!(wire::decode(Version(0), &encoded).as_ref(), Ok(&address));
            json!({"reencoded": address.to_string(), "smp": hexed(encoded)})
        });
        let mut case = case.clone();
        // Forms of old versions, with a single host: nothing that we speak has them.
        if let Some(fields) = case.get_mut("ok").and_then(Value::as_object_mut) {
            fields.remove("legacy_smp");
            fields.remove("legacy_text");
        }
        comparison.outcome(address, ours, &case);
    }
    comparison.finish();
}
