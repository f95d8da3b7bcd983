//! Every combination of what the sides may have.

use super::*;

#[test]
fn every_combination_is_secured_with_one_session_id() {
    let leaves = [[Ed25519; 4], [Ed448; 4], [Ed448, Ed25519, Ed448, Ed25519]];
    let mut seed = 0;
    for versions in [Versions::Tls13, Versions::Tls12] {
        for groups in [Groups::X448First, Groups::X25519First] {
            for algorithms in leaves {
                for length in 2..=4 {
                    for client_length in 0..=4 {
                        seed += 1;
                        let router = credentials(&algorithms[..length], 1);
                        // A client's chain is of the other kind where it can be.
                        let service: Vec<_> = algorithms.iter().rev().copied().collect();
                        let service = (client_length > 0)
                            .then(|| service_credentials(&service[..client_length]));
                        secure(versions, groups, &router, service, seed);
                    }
                }
            }
        }
    }
    assert_eq!(seed, 180);
}

/// As services make them: without extensions, where only the two certificates that they need are there.
fn service_credentials(algorithms: &[Algorithm]) -> Credentials {
    let &[leaf, authority] = algorithms else {
        return credentials(algorithms, 2);
    };
    let mut rng = Rng::from_seed([2; 32]);
    let [key, authority_key] =
        [leaf, authority].map(|algorithm| SigningKey::generate(algorithm, &mut rng).unwrap());
    let authority = Certificate::self_signed(&Name::new("authority"), &authority_key, validity());
    let issuer = Issuer::new(&authority, &authority_key).unwrap();
    let leaf = Certificate::bare(&Name::new("leaf"), &key.public_key(), &issuer, validity());
    Credentials::new(Chain::new([leaf, authority]).unwrap(), key).unwrap()
}

fn secure(
    versions: Versions,
    groups: Groups,
    router: &Credentials,
    service: Option<Credentials>,
    seed: u8,
) {
    let client = ClientOptions {
        versions,
        groups,
        credentials: service.clone(),
        ..client_of(router)
    };
    let server = ServerOptions {
        client_certificates: ClientCertificates::Asked,
        ..server_of(router)
    };
    let mut pair = Pair::seeded(client, server, seed);
    pair.run();
    let (client, server) = pair.assert_secured();

    let version = match versions {
        Versions::Tls12 => TlsVersion::Tls12,
        Versions::Tls13 | Versions::Both => TlsVersion::Tls13,
    };
    assert_eq!(client.version, version);
    let expected_length = match version {
        TlsVersion::Tls12 => 12,
        TlsVersion::Tls13 => 32,
    };
    assert_eq!(client.session_id.as_bytes().len(), expected_length);
    assert_eq!(client.protocol, Some("smp/1"));
    assert_eq!(client.peer.as_ref(), Some(router.chain().as_ref()));
    assert_eq!(server.shown, Shown::Identity(Arc::clone(router.chain())));
    assert_eq!(server.server_name, None);
    match service {
        None => {
            assert_eq!(client.shown, Shown::Nothing);
            assert_eq!(server.peer, None);
        }
        Some(service) => {
            assert_eq!(client.shown, Shown::Identity(Arc::clone(service.chain())));
            assert_eq!(server.peer.as_ref(), Some(service.chain().as_ref()));
        }
    }
}
