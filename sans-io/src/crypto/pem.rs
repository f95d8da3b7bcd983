//! PEM, the text in which certificates and private keys are stored in files.
//!
//! Written as OpenSSL writes it; read with anything around the blocks, any line ends, and any width of lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{KeyError, SigningKey};

/// The label of certificates.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The label of PKCS#8 private keys.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

const ENCRYPTED_PRIVATE_KEY: &str = "ENCRYPTED PRIVATE KEY";
const WIDTH: usize = 64;

/// Why a text is not the PEM file that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A block does not end, or another one ends.
    #[error("a block {0} does not end")]
    Unfinished(String),
    /// A block is not base64.
    #[error("a block {0} is not base64")]
    Base64(String),
    /// A block is encrypted with a password.
    #[error("a block {0} is encrypted with a password")]
    Encrypted(String),
    /// Exactly one block of this label was expected.
    #[error("expected one block {0}, found {1}")]
    Count(&'static str, usize),
    /// The private key in the file cannot be used.
    #[error("the private key cannot be used: {0}")]
    Key(#[from] KeyError),
}

/// A labelled block of a PEM file.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// What the block holds.
    pub label: String,
    /// Its DER; erased on drop, because it may be a private key.
    pub der: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Block").field(&self.label).finish()
    }
}

/// Reads all blocks.
pub fn read(text: &str) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(label) = label(line, BEGIN) {
            blocks.push(block(label, &mut lines)?);
        }
    }
    Ok(blocks)
}

/// Reads the blocks of one label and passes over all others.
pub fn read_all(label: &str, text: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, PemError> {
    let blocks = read(text)?.into_iter();
    Ok(blocks
        .filter(|block| block.label == label)
        .map(|block| block.der)
        .collect())
}

/// Writes one block.
#[must_use]
pub fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let lines = base64.len().div_ceil(WIDTH);
    let around = 2_usize.saturating_mul(label.len().saturating_add(20));
    // Sized at once, so that no copy of a private key stays behind in memory.
    let size = base64.len().saturating_add(lines).saturating_add(around);
    let mut text = Zeroizing::new(String::with_capacity(size));
    for part in [BEGIN, label, DASHES, "\n"] {
        text.push_str(part);
    }
    let mut rest = base64.as_str();
    while let Some((line, more)) = rest.split_at_checked(WIDTH.min(rest.len()))
        && !line.is_empty()
    {
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    for part in [END, label, DASHES, "\n"] {
        text.push_str(part);
    }
    text
}

impl SigningKey {
    /// Reads a PEM file with exactly one PKCS#8 private key.
    pub fn from_pem(text: &str) -> Result<Self, PemError> {
        match read_all(PRIVATE_KEY, text)?.as_slice() {
            [der] => Ok(Self::from_pkcs8(der)?),
            keys => Err(PemError::Count(PRIVATE_KEY, keys.len())),
        }
    }

    /// The key as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        write(PRIVATE_KEY, &self.to_pkcs8())
    }
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

fn label<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix(DASHES)
}

fn block<'a>(block: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Block, PemError> {
    let mut base64 = Zeroizing::new(String::new());
    for line in lines {
        if let Some(end) = label(line, END) {
            if end != block {
                return Err(PemError::Unfinished(block.to_owned()));
            }
            let der = STANDARD
                .decode(base64.as_bytes())
                .map_err(|_| PemError::Base64(block.to_owned()))?;
            return Ok(Block {
                label: block.to_owned(),
                der: Zeroizing::new(der),
            });
        }
        if block == ENCRYPTED_PRIVATE_KEY || line.contains("ENCRYPTED") {
            return Err(PemError::Encrypted(block.to_owned()));
        }
        base64.push_str(line);
    }
    Err(PemError::Unfinished(block.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ed25519;
    use proptest::prelude::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH
-----END PRIVATE KEY-----
";

    #[test]
    fn a_key_is_written_as_openssl_writes_it() {
        let key = SigningKey::from(ed25519::PrivateKey::from_bytes([7; 32]));
        assert_eq!(key.to_pem().as_str(), KEY);
        assert_eq!(SigningKey::from_pem(KEY), Ok(key));
    }

    #[test]
    fn what_stands_around_the_blocks_and_how_lines_end_does_not_matter() {
        let text = format!("Certificate:\n    Data: 1\n{KEY}\n\n").replace('\n', " \r\n");
        assert_eq!(SigningKey::from_pem(&text), SigningKey::from_pem(KEY));
        let narrow = KEY.replace("BwcH", "BwcH\n");
        assert_eq!(SigningKey::from_pem(&narrow), SigningKey::from_pem(KEY));
    }

    #[test]
    fn a_block_that_does_not_end_or_decode_is_refused() {
        let label = || PRIVATE_KEY.to_owned();
        let (cut, _) = KEY.rsplit_once("-----END").unwrap();
        assert_eq!(read(cut), Err(PemError::Unfinished(label())));
        let other = KEY.replace("END PRIVATE", "END PUBLIC");
        assert_eq!(read(&other), Err(PemError::Unfinished(label())));
        let bad = KEY.replace("MC4", "MC-");
        assert_eq!(read(&bad), Err(PemError::Base64(label())));
    }

    #[test]
    fn an_encrypted_key_is_named_as_such() {
        let pkcs8 = KEY.replace(PRIVATE_KEY, ENCRYPTED_PRIVATE_KEY);
        assert_eq!(
            read(&pkcs8),
            Err(PemError::Encrypted(ENCRYPTED_PRIVATE_KEY.to_owned()))
        );
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
        assert_eq!(
            read(old),
            Err(PemError::Encrypted("RSA PRIVATE KEY".to_owned()))
        );
    }

    #[test]
    fn one_key_is_expected() {
        assert_eq!(
            SigningKey::from_pem(""),
            Err(PemError::Count(PRIVATE_KEY, 0))
        );
        assert_eq!(
            SigningKey::from_pem(&KEY.repeat(2)),
            Err(PemError::Count(PRIVATE_KEY, 2))
        );
    }

    #[test]
    fn blocks_print_without_their_content() {
        assert_eq!(format!("{:?}", read(KEY)), r#"Ok([Block("PRIVATE KEY")])"#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ders in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)) {
            let text: String = ders.iter().map(|der| write(CERTIFICATE, der).to_string()).collect();
            let read: Vec<_> = read_all(CERTIFICATE, &text).unwrap().iter().map(|der| der.to_vec()).collect();
            prop_assert_eq!(read, ders);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(-----(BEGIN|END) [A-C]{0,2}-----|[ -~\n]){0,40}") {
            let _ = read(&text);
        }
    }
}
