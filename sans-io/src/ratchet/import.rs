//! Reads the state of a ratchet as the reference stores it: JSON whose values are base64url.

use serde::Deserialize;

use super::state::{AssociatedData, RatchetKey, ReceivingChain, SendingChain};
use super::{Pq, Ratchet};
use crate::crypto::{Secret, kem, x448};
use crate::wire::Version;
use crate::wire::text;

/// Why a text is not the state of a ratchet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It is not JSON with the fields of a ratchet.
    #[error("not the JSON of a ratchet")]
    Json,
    /// A field has a value that it cannot have.
    #[error("{0} is not what it must be")]
    Field(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    rc_version: (u16, u16),
    #[serde(rename = "rcAD")]
    rc_ad: &'a str,
    #[serde(rename = "rcDHRs")]
    rc_dhrs: &'a str,
    #[serde(rename = "rcKEM")]
    rc_kem: Option<Kem<'a>>,
    #[serde(rename = "rcSupportKEM", default)]
    rc_support_kem: bool,
    #[serde(rename = "rcEnableKEM", default)]
    rc_enable_kem: bool,
    #[serde(rename = "rcRcvKEM", default)]
    rc_rcv_kem: bool,
    #[serde(rename = "rcRK")]
    rc_rk: &'a str,
    rc_snd: Option<Sending<'a>>,
    rc_rcv: Option<Receiving<'a>>,
    rc_ns: u32,
    rc_nr: u32,
    #[serde(rename = "rcPN")]
    rc_pn: u32,
    #[serde(rename = "rcNHKs")]
    rc_nhks: &'a str,
    #[serde(rename = "rcNHKr")]
    rc_nhkr: &'a str,
}

#[derive(Deserialize)]
struct Kem<'a> {
    #[serde(rename = "rcPQRs", borrow)]
    pair: (&'a str, &'a str),
    #[serde(rename = "rcKEMs")]
    accepted: Option<Accepted<'a>>,
}

#[derive(Deserialize)]
struct Accepted<'a> {
    #[serde(rename = "rcPQRct")]
    ciphertext: &'a str,
}

#[derive(Deserialize)]
struct Sending<'a> {
    #[serde(rename = "rcCKs")]
    chain: &'a str,
    #[serde(rename = "rcHKs")]
    header_key: &'a str,
}

#[derive(Deserialize)]
struct Receiving<'a> {
    #[serde(rename = "rcCKr")]
    chain: &'a str,
    #[serde(rename = "rcHKr")]
    header_key: &'a str,
}

impl Ratchet {
    /// The state that the reference has stored.
    ///
    /// Whether the sending chain has a post-quantum secret is lost where the reference has dropped what takes that to the peer.
    pub fn from_reference_json(json: &str) -> Result<Self, ImportError> {
        let state: State<'_> = serde_json::from_str(json).map_err(|_| ImportError::Json)?;
        let (key, accepted) = match state.rc_kem {
            Some(Kem { pair, accepted }) => (Some(kem_key(pair.1)?), accepted),
            None => (None, None),
        };
        let ciphertext = accepted.map(|accepted| ciphertext(accepted.ciphertext));
        let ciphertext = ciphertext.transpose()?;
        let sending = match state.rc_snd {
            Some(Sending { chain, header_key }) => Some(SendingChain {
                chain: secret("rcCKs", chain)?,
                header_key: secret("rcHKs", header_key)?,
                ciphertext,
            }),
            None => None,
        };
        let receiving = match state.rc_rcv {
            Some(Receiving { chain, header_key }) => Some(ReceivingChain {
                chain: secret("rcCKr", chain)?,
                header_key: secret("rcHKr", header_key)?,
                pq: state.rc_rcv_kem.into(),
            }),
            None => None,
        };
        Ok(Self {
            version: Version(state.rc_version.0),
            max_version: Version(state.rc_version.1),
            parties: AssociatedData::from(*secret::<112>("rcAD", state.rc_ad)?.as_bytes()),
            own: ratchet_key(state.rc_dhrs)?,
            kem: key,
            support: Pq::from(state.rc_support_kem),
            enabled: Pq::from(state.rc_enable_kem),
            root: secret("rcRK", state.rc_rk)?,
            sending,
            receiving,
            sent: state.rc_ns,
            received: state.rc_nr,
            previous: state.rc_pn,
            next_sending: secret("rcNHKs", state.rc_nhks)?,
            next_receiving: secret("rcNHKr", state.rc_nhkr)?,
        })
    }
}

fn bytes(name: &'static str, value: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, ImportError> {
    let bytes = text::parse_base64url(value).map_err(|_| ImportError::Field(name))?;
    Ok(bytes.into())
}

fn secret<const N: usize>(name: &'static str, value: &str) -> Result<Secret<N>, ImportError> {
    Secret::try_from(bytes(name, value)?.as_slice()).map_err(|_| ImportError::Field(name))
}

/// The key is base64url of the base64url of its DER.
fn ratchet_key(value: &str) -> Result<RatchetKey, ImportError> {
    let invalid = ImportError::Field("rcDHRs");
    let inner = bytes("rcDHRs", value)?;
    let inner = std::str::from_utf8(&inner).map_err(|_| invalid.clone())?;
    let key = x448::PrivateKey::from_pkcs8(&bytes("rcDHRs", inner)?).map_err(|_| invalid)?;
    Ok(key.into())
}

fn kem_key(value: &str) -> Result<kem::PrivateKey, ImportError> {
    let bytes = bytes("rcPQRs", value)?;
    kem::PrivateKey::from_bytes(&bytes).map_err(|_| ImportError::Field("rcPQRs"))
}

fn ciphertext(value: &str) -> Result<kem::Ciphertext, ImportError> {
    let bytes = bytes("rcPQRct", value)?;
    kem::Ciphertext::from_bytes(&bytes).map_err(|_| ImportError::Field("rcPQRct"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |json: &str| Ratchet::from_reference_json(json).err();
        assert_eq!(refused("{}"), Some(ImportError::Json));
        let json = r#"{"rcVersion":[2,3],"rcAD":"AAAA","rcDHRs":"","rcRK":"","rcNs":0,"rcNr":0,"rcPN":0,"rcNHKs":"","rcNHKr":""}"#;
        assert_eq!(refused(json), Some(ImportError::Field("rcAD")));
        let kem = json.replacen('{', r#"{"rcKEM":{"rcPQRs":["AAAA","AAAA"]},"#, 1);
        assert_eq!(refused(&kem), Some(ImportError::Field("rcPQRs")));
    }
}
