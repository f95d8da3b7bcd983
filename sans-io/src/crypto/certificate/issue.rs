//! Writing certificates.

use bytes::Bytes;

use super::{Certificate, CertificateError, Fields, VERSION_3, Validity, algorithm_identifier};
use crate::crypto::der::{Tag, Writer};
use crate::crypto::hash::sha256;
use crate::crypto::{SigningKey, VerifyingKey};
use crate::rng::Rng;

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    common_name: String,
    organization: Option<String>,
}

impl Name {
    /// A common name alone.
    #[must_use]
    pub fn new(common_name: impl Into<String>) -> Self {
        Self {
            common_name: common_name.into(),
            organization: None,
        }
    }

    /// The same name within an organization.
    #[must_use]
    pub fn of(self, organization: impl Into<String>) -> Self {
        Self {
            organization: Some(organization.into()),
            ..self
        }
    }

    fn to_der(&self) -> Vec<u8> {
        let attributes = [
            (COMMON_NAME, Some(&self.common_name)),
            (ORGANIZATION, self.organization.as_ref()),
        ];
        let mut writer = Writer::default();
        writer.nested(Tag::SEQUENCE, |name| {
            for (kind, value) in attributes {
                let Some(value) = value else { continue };
                name.nested(Tag::SET, |set| {
                    set.nested(Tag::SEQUENCE, |attribute| {
                        attribute
                            .element(Tag::OBJECT_IDENTIFIER, kind)
                            .element(Tag::UTF8_STRING, value.as_bytes());
                    });
                });
            }
        });
        writer.into_bytes()
    }
}

/// A certificate with its private key, under which others are issued.
#[derive(Debug, Clone, Copy)]
pub struct Issuer<'a> {
    name: &'a [u8],
    key: &'a SigningKey,
    key_identifier: Option<&'a [u8]>,
}

impl<'a> Issuer<'a> {
    /// Refuses a key that does not belong to the certificate.
    pub fn new(
        certificate: &'a Certificate,
        key: &'a SigningKey,
    ) -> Result<Self, CertificateError> {
        if key.public_key() != certificate.key {
            return Err(CertificateError::OtherKey);
        }
        let fields = Fields::read(&certificate.der)?;
        Ok(Self {
            name: fields.subject,
            key,
            key_identifier: fields.subject_key_identifier()?,
        })
    }
}

impl Certificate {
    /// A self-signed certificate under which others are issued: the identity certificate of a router, or what stands above it.
    #[must_use]
    pub fn authority(name: &Name, key: &SigningKey, validity: Validity, rng: &mut Rng) -> Self {
        let itself = Issuer {
            name: &name.to_der(),
            key,
            key_identifier: Some(&key_identifier(&key.public_key())),
        };
        Self::subordinate(name, &key.public_key(), &itself, validity, rng)
    }

    /// A certificate under which others are issued, and which is itself issued under another: an identity in a longer chain.
    #[must_use]
    pub fn subordinate(
        name: &Name,
        key: &VerifyingKey,
        issuer: &Issuer<'_>,
        validity: Validity,
        rng: &mut Rng,
    ) -> Self {
        let extensions = |writer: &mut Writer| {
            subject_key_identifier(writer, &key_identifier(key));
            authority_key_identifier(writer, issuer);
            extension(writer, BASIC_CONSTRAINTS, Critical::Yes, |value| {
                value.nested(Tag::SEQUENCE, |constraints| {
                    constraints.element(Tag::BOOLEAN, &TRUE);
                });
            });
        };
        Draft {
            serial: &serial(rng),
            name: &name.to_der(),
            key,
            validity,
        }
        .sign(issuer, Some(extensions))
    }

    /// The certificate of the key that a router uses in TLS.
    #[must_use]
    pub fn server(
        name: &Name,
        key: &VerifyingKey,
        issuer: &Issuer<'_>,
        validity: Validity,
        rng: &mut Rng,
    ) -> Self {
        let extensions = |writer: &mut Writer| {
            extension(writer, BASIC_CONSTRAINTS, Critical::No, |value| {
                value.element(Tag::SEQUENCE, &[]);
            });
            extension(writer, KEY_USAGE, Critical::No, |value| {
                value.element(Tag::BIT_STRING, &SIGNATURE_AND_AGREEMENT);
            });
            extension(writer, EXTENDED_KEY_USAGE, Critical::No, |value| {
                value.nested(Tag::SEQUENCE, |usages| {
                    usages.element(Tag::OBJECT_IDENTIFIER, SERVER_AUTHENTICATION);
                });
            });
            subject_key_identifier(writer, &key_identifier(key));
            authority_key_identifier(writer, issuer);
        };
        Draft {
            serial: &serial(rng),
            name: &name.to_der(),
            key,
            validity,
        }
        .sign(issuer, Some(extensions))
    }

    /// A certificate without extensions, as clients make them for their services.
    #[must_use]
    pub fn bare(name: &Name, key: &VerifyingKey, issuer: &Issuer<'_>, validity: Validity) -> Self {
        Draft {
            serial: &FIRST_SERIAL,
            name: &name.to_der(),
            key,
            validity,
        }
        .sign(issuer, None::<fn(&mut Writer)>)
    }

    /// A certificate without extensions that is its own issuer.
    #[must_use]
    pub fn self_signed(name: &Name, key: &SigningKey, validity: Validity) -> Self {
        let issuer = Issuer {
            name: &name.to_der(),
            key,
            key_identifier: None,
        };
        Self::bare(name, &key.public_key(), &issuer, validity)
    }
}

/// What is to be certified.
struct Draft<'a> {
    serial: &'a [u8],
    name: &'a [u8],
    key: &'a VerifyingKey,
    validity: Validity,
}

impl Draft<'_> {
    fn sign(
        self,
        issuer: &Issuer<'_>,
        extensions: Option<impl FnOnce(&mut Writer)>,
    ) -> Certificate {
        let algorithm = algorithm_identifier(issuer.key.algorithm());
        let mut signed = Writer::default();
        signed.nested(Tag::SEQUENCE, |fields| {
            fields
                .nested(Tag::constructed(0), |version| {
                    version.element(Tag::INTEGER, &VERSION_3);
                })
                .element(Tag::INTEGER, self.serial)
                .encoded(algorithm)
                .encoded(issuer.name);
            self.validity.write(fields);
            fields.encoded(self.name).encoded(&self.key.to_spki());
            if let Some(extensions) = extensions {
                fields.nested(Tag::constructed(3), |wrapped| {
                    wrapped.nested(Tag::SEQUENCE, extensions);
                });
            }
        });
        let signed = signed.into_bytes();
        let signature = issuer.key.sign(&signed);
        let mut certificate = Writer::default();
        certificate.nested(Tag::SEQUENCE, |parts| {
            parts
                .encoded(&signed)
                .encoded(algorithm)
                .bit_string(signature.as_bytes());
        });
        Certificate {
            der: Bytes::from(certificate.into_bytes()),
            key: *self.key,
            validity: self.validity,
        }
    }
}

#[derive(Clone, Copy)]
enum Critical {
    Yes,
    No,
}

fn extension(
    writer: &mut Writer,
    kind: &[u8],
    critical: Critical,
    value: impl FnOnce(&mut Writer),
) {
    writer.nested(Tag::SEQUENCE, |extension| {
        extension.element(Tag::OBJECT_IDENTIFIER, kind);
        match critical {
            Critical::Yes => {
                extension.element(Tag::BOOLEAN, &TRUE);
            }
            Critical::No => {}
        }
        extension.nested(Tag::OCTET_STRING, value);
    });
}

fn subject_key_identifier(writer: &mut Writer, identifier: &[u8]) {
    extension(writer, SUBJECT_KEY_IDENTIFIER, Critical::No, |value| {
        value.element(Tag::OCTET_STRING, identifier);
    });
}

/// Absent if the issuer's certificate has no identifier to refer to.
fn authority_key_identifier(writer: &mut Writer, issuer: &Issuer<'_>) {
    let Some(identifier) = issuer.key_identifier else {
        return;
    };
    extension(writer, AUTHORITY_KEY_IDENTIFIER, Critical::No, |value| {
        value.nested(Tag::SEQUENCE, |parts| {
            parts.element(Tag::primitive(0), identifier);
        });
    });
}

/// RFC 7093, method 1: the first 160 bits of the SHA-256 of the key.
fn key_identifier(key: &VerifyingKey) -> Vec<u8> {
    sha256(key.as_bytes()).into_iter().take(20).collect()
}

/// A positive number of 20 bytes.
fn serial(rng: &mut Rng) -> [u8; 20] {
    let mut serial: [u8; 20] = rng.bytes();
    let [first, ..] = &mut serial;
    *first = *first & 0x7f | 0x40;
    serial
}

const FIRST_SERIAL: [u8; 1] = [1];
const TRUE: [u8; 1] = [0xff];

pub(super) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];

pub(super) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 14];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const SERVER_AUTHENTICATION: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// digitalSignature, nonRepudiation and keyAgreement, with three bits unused.
const SIGNATURE_AND_AGREEMENT: [u8; 2] = [3, 0b1100_1000];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Algorithm;
    use crate::crypto::certificate::Chain;
    use crate::crypto::der::Reader;
    use crate::time::UnixTime;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn key(algorithm: Algorithm, seed: u8) -> SigningKey {
        SigningKey::generate(algorithm, &mut Rng::from_seed([seed; 32])).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut rng = Rng::from_seed([1; 32]);
        let validity = Validity::days(NOW, Validity::LONG);
        for algorithm in [Algorithm::Ed25519, Algorithm::Ed448] {
            let (identity_key, leaf_key) = (key(algorithm, 1), key(algorithm, 2));
            let name = Name::new("SMP server CA").of("SimpleX");
            let identity = Certificate::authority(&name, &identity_key, validity, &mut rng);
            assert_eq!(identity.verify_self_signed(NOW), Ok(()));

            let issuer = Issuer::new(&identity, &identity_key).unwrap();
            let name = Name::new("smp.example.com");
            let leaf =
                Certificate::server(&name, &leaf_key.public_key(), &issuer, validity, &mut rng);
            for certificate in [identity, leaf] {
                let read = Certificate::from_der(certificate.as_der().clone());
                assert_eq!(read, Ok(certificate));
            }
        }
    }

    #[test]
    fn a_leaf_refers_to_the_key_identifier_of_its_issuer() {
        let mut rng = Rng::from_seed([1; 32]);
        let validity = Validity::days(NOW, 1);
        let identity_key = key(Algorithm::Ed25519, 1);
        let identity = Certificate::authority(&Name::new("ca"), &identity_key, validity, &mut rng);
        let issuer = Issuer::new(&identity, &identity_key).unwrap();
        assert_eq!(
            issuer.key_identifier,
            Some(key_identifier(&identity_key.public_key()).as_slice())
        );
        let bare = Certificate::self_signed(&Name::new("ca"), &identity_key, validity);
        let issuer = Issuer::new(&bare, &identity_key).unwrap();
        assert_eq!(issuer.key_identifier, None);
    }

    /// The kinds of a certificate's extensions.
    fn extensions(certificate: &Certificate) -> Vec<Vec<u8>> {
        let extensions = Fields::read(&certificate.der).unwrap().extensions.unwrap();
        let mut extensions = Reader::new(extensions).nested(Tag::SEQUENCE).unwrap();
        let mut kinds = Vec::new();
        while !extensions.is_empty() {
            let mut extension = extensions.nested(Tag::SEQUENCE).unwrap();
            kinds.push(extension.element(Tag::OBJECT_IDENTIFIER).unwrap().to_vec());
        }
        kinds
    }

    /// What the commands of OpenSSL that the reference runs have written.
    #[test]
    fn certificates_of_openssl_are_read_and_ours_are_like_them() {
        for file in [
            include_str!("openssl_ed25519.pem"),
            include_str!("openssl_ed448.pem"),
        ] {
            let chain = Chain::from_pem(file).unwrap();
            let leaf_key = SigningKey::from_pem(file).unwrap();
            assert_eq!(leaf_key.public_key(), *chain.leaf().key());
            assert_eq!(chain.identity().verify_self_signed(NOW), Ok(()));

            let mut rng = Rng::from_seed([1; 32]);
            let validity = chain.leaf().validity();
            let key = key(leaf_key.algorithm(), 1);
            let name = Name::new("SMP server CA").of("SimpleX");
            let identity = Certificate::authority(&name, &key, validity, &mut rng);
            let issuer = Issuer::new(&identity, &key).unwrap();
            let name = Name::new("smp.example.com");
            let leaf =
                Certificate::server(&name, &leaf_key.public_key(), &issuer, validity, &mut rng);
            assert_eq!(extensions(&leaf), extensions(chain.leaf()));
            let fields = |certificate| Fields::read(certificate).unwrap();
            let (ours, theirs) = (fields(&leaf.der), fields(&chain.leaf().der));
            assert_eq!(
                (ours.issuer, ours.subject, ours.key, ours.validity),
                (theirs.issuer, theirs.subject, theirs.key, theirs.validity)
            );
        }
    }

    #[test]
    fn nothing_is_issued_with_another_key() {
        let validity = Validity::days(NOW, 1);
        let (key, other) = (key(Algorithm::Ed25519, 1), key(Algorithm::Ed25519, 2));
        let certificate = Certificate::self_signed(&Name::new("ca"), &key, validity);
        assert_eq!(
            Issuer::new(&certificate, &other).err(),
            Some(CertificateError::OtherKey)
        );
    }
}
