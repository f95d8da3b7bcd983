//! The files that say who a router is.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use simplex_sans_io::crypto::certificate::{
    Certificate, Chain, Fingerprint, Issuer, Name, Validity,
};
use simplex_sans_io::crypto::{Algorithm, SigningKey, ed448, ed25519};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::tls::{Credentials, Web, WebCredentials};

/// How long certificates of routers are valid, as those of the reference implementation.
const VALIDITY_DAYS: u32 = 999_999;

/// Why a router has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{path} cannot be {done}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done.
        done: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} does not hold {expected}: {error}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        error: String,
    },
    /// The certificates are not those that the fingerprint was made of.
    #[error(
        "the fingerprint in {path} is not that of ca.crt: clients know the router by it, so restore the ca.crt that belongs to it"
    )]
    Fingerprint {
        /// The file with the fingerprint.
        path: PathBuf,
    },
    /// A certificate is not valid now.
    #[error(
        "the certificates in {path} are not valid now: {error}; check the clock, or make a new one with `cert`"
    )]
    Invalid {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
}

/// The files in the directory of the configuration.
#[derive(Debug, Clone)]
pub struct IdentityFiles<'a>(pub &'a Path);

impl IdentityFiles<'_> {
    /// Reads what is needed to run. The key of the identity is not: its operator keeps it elsewhere.
    pub fn load(&self, now: UnixTime) -> Result<Credentials, IdentityError> {
        let leaf = self.read("server.crt")?;
        let identity = self.read("ca.crt")?;
        let key = self.read("server.key")?;
        let credentials =
            Credentials::from_pem(&format!("{leaf}\n{identity}"), &key).map_err(|error| {
                IdentityError::Content {
                    path: self.0.join("server.crt"),
                    expected: "a certificate that ca.crt has issued for server.key",
                    error: error.to_string(),
                }
            })?;
        let chain = credentials.chain();
        let path = self.0.join("fingerprint");
        let stored = self.read("fingerprint")?;
        if stored.trim().parse::<Fingerprint>() != Ok(chain.fingerprint()) {
            return Err(IdentityError::Fingerprint { path });
        }
        if let Err(error) = chain.leaf().verify_issued_by(chain.identity(), now) {
            let path = self.0.to_owned();
            let error = error.to_string();
            return Err(IdentityError::Invalid { path, error });
        }
        Ok(credentials)
    }

    /// Makes a new identity.
    pub fn create(
        &self,
        algorithm: Algorithm,
        common_name: &str,
        now: UnixTime,
        rng: &mut Rng,
    ) -> Result<Fingerprint, IdentityError> {
        let key = generate(algorithm, rng);
        let name = Name::new("SMP server CA").of("SimpleX");
        let validity = Validity::days(now, VALIDITY_DAYS);
        let identity = Certificate::authority(&name, &key, validity, rng);
        let fingerprint = identity.fingerprint();
        self.write("ca.key", &key.to_pem(), Privacy::Secret)?;
        self.write("ca.crt", &identity.to_pem(), Privacy::Public)?;
        self.write("fingerprint", &format!("{fingerprint}\n"), Privacy::Public)?;
        self.issue(&identity, &key, algorithm, common_name, now, rng)?;
        Ok(fingerprint)
    }

    /// Makes a new key and certificate for TLS, of the same identity.
    pub fn renew(
        &self,
        algorithm: Algorithm,
        common_name: &str,
        now: UnixTime,
        rng: &mut Rng,
    ) -> Result<Fingerprint, IdentityError> {
        let content = |name: &str, expected, error: String| IdentityError::Content {
            path: self.0.join(name),
            expected,
            error,
        };
        let key = SigningKey::from_pem(&self.read("ca.key")?)
            .map_err(|error| content("ca.key", "an Ed25519 or Ed448 key", error.to_string()))?;
        let identity = Certificate::from_pem(&self.read("ca.crt")?)
            .map_err(|error| content("ca.crt", "a certificate", error.to_string()))?;
        self.issue(&identity, &key, algorithm, common_name, now, rng)?;
        Ok(identity.fingerprint())
    }

    fn issue(
        &self,
        identity: &Certificate,
        identity_key: &SigningKey,
        algorithm: Algorithm,
        common_name: &str,
        now: UnixTime,
        rng: &mut Rng,
    ) -> Result<(), IdentityError> {
        let issuer =
            Issuer::new(identity, identity_key).map_err(|error| IdentityError::Content {
                path: self.0.join("ca.key"),
                expected: "the key of ca.crt",
                error: error.to_string(),
            })?;
        let key = generate(algorithm, rng);
        let name = Name::new(common_name);
        let validity = Validity::days(now, VALIDITY_DAYS);
        let leaf = Certificate::server(&name, &key.public_key(), &issuer, validity, rng);
        self.write("server.key", &key.to_pem(), Privacy::Secret)?;
        self.write("server.crt", &leaf.to_pem(), Privacy::Public)
    }

    /// The algorithm of the certificate that is there.
    pub fn algorithm(&self) -> Result<Algorithm, IdentityError> {
        Ok(self.leaf()?.key().algorithm())
    }

    /// The name in the certificate that is there.
    pub fn name(&self) -> Result<String, IdentityError> {
        let name = self.leaf()?.common_name();
        name.ok_or_else(|| IdentityError::Content {
            path: self.0.join("server.crt"),
            expected: "a certificate with a name",
            error: "it has no common name; give the new one with --cn".to_owned(),
        })
    }

    fn leaf(&self) -> Result<Certificate, IdentityError> {
        let text = self.read("server.crt")?;
        let chain = Chain::from_pem(&text).map_err(|error| IdentityError::Content {
            path: self.0.join("server.crt"),
            expected: "a certificate",
            error: error.to_string(),
        })?;
        Ok(chain.leaf().clone())
    }

    fn read(&self, name: &str) -> Result<String, IdentityError> {
        let path = self.0.join(name);
        fs::read_to_string(&path).map_err(|error| IdentityError::File {
            path,
            done: "read",
            error,
        })
    }

    fn write(&self, name: &str, text: &str, privacy: Privacy) -> Result<(), IdentityError> {
        let path = self.0.join(name);
        write_file(&path, text, privacy).map_err(|error| IdentityError::File {
            path,
            done: "written",
            error,
        })
    }
}

/// What browsers are shown. A router without it serves its clients all the same.
pub(crate) fn browsers(
    certificate: &Path,
    key: &Path,
    protocols: Vec<&'static str>,
) -> Option<Web> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let credentials = read(certificate).and_then(|chain| {
        let key = read(key)?;
        WebCredentials::from_pem(&chain, &key).map_err(|error| error.to_string())
    });
    match credentials {
        Ok(credentials) => Some(Web {
            credentials,
            protocols,
        }),
        Err(error) => {
            tracing::warn!(%error, "browsers are not served, as the certificate for them cannot be used");
            None
        }
    }
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Its owner only.
    Secret,
    /// Anybody.
    Public,
}

/// Writes a whole file: whoever reads it finds the old text or the new one.
pub fn write_file(path: &Path, text: &str, privacy: Privacy) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(match privacy {
            Privacy::Secret => 0o600,
            Privacy::Public => 0o644,
        });
    }
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn generate(algorithm: Algorithm, rng: &mut Rng) -> SigningKey {
    match algorithm {
        Algorithm::Ed448 => SigningKey::from(ed448::PrivateKey::generate(rng)),
        Algorithm::Ed25519 | Algorithm::X25519 | Algorithm::X448 => {
            SigningKey::from(ed25519::PrivateKey::generate(rng))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_767_225_600);

    #[test]
    fn an_identity_is_made_loaded_and_renewed() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Ed448] {
            let directory = tempfile::tempdir().unwrap();
            let files = IdentityFiles(directory.path());
            let mut rng = Rng::from_seed([4; 32]);
            let made = files
                .create(algorithm, "smp.example.com", NOW, &mut rng)
                .unwrap();
            let first = files.load(NOW).unwrap();
            assert_eq!(first.chain().fingerprint(), made);
            assert_eq!(files.algorithm().unwrap(), algorithm);
            assert_eq!(files.name().unwrap(), "smp.example.com");
            let renewed = files.renew(algorithm, "other", NOW, &mut rng).unwrap();
            assert_eq!(renewed, made);
            assert_ne!(
                files.load(NOW).unwrap().chain().leaf(),
                first.chain().leaf()
            );
            fs::remove_file(directory.path().join("ca.key")).unwrap();
            assert!(files.load(NOW).is_ok());
        }
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let files = IdentityFiles(directory.path());
        let mut rng = Rng::from_seed([4; 32]);
        let missing = files.load(NOW).unwrap_err().to_string();
        assert!(missing.contains("server.crt cannot be read"));
        files
            .create(Algorithm::Ed25519, "a", NOW, &mut rng)
            .unwrap();
        let other = Fingerprint::from_bytes([1; 32]).to_string();
        fs::write(directory.path().join("fingerprint"), other).unwrap();
        assert!(matches!(
            files.load(NOW),
            Err(IdentityError::Fingerprint { .. })
        ));
        fs::write(directory.path().join("server.key"), "no key").unwrap();
        assert!(matches!(
            files.load(NOW),
            Err(IdentityError::Content { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let files = IdentityFiles(directory.path());
        files
            .create(Algorithm::Ed25519, "a", NOW, &mut Rng::from_seed([4; 32]))
            .unwrap();
        for name in ["ca.key", "server.key"] {
            let mode = fs::metadata(directory.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
