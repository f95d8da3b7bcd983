//! Commands, messages, transmissions and their batches.

use bytes::{Bytes, BytesMut};

use super::{decoded, versioned, written_alike};
use crate::smp::batch;
use crate::smp::transmission::{Session, Transmission, Unauthorized};
use crate::smp::{BrokerMessage, Command, ErrorType};
use crate::wire::Id;

/// A command in any version.
pub fn smp_command(data: &[u8]) {
    if let Some((version, bytes)) = versioned(data) {
        decoded::<Command>(version, bytes);
    }
}

/// A message in any version, and an error as a client of an older version is told of it.
pub fn smp_message(data: &[u8]) {
    let Some((version, bytes)) = versioned(data) else {
        return;
    };
    if let Some(message) = written_alike::<BrokerMessage>(version, bytes) {
        let message = message.for_version(version);
        assert_eq!(message.clone().for_version(version), message);
    }
    if let Some(error) = written_alike::<ErrorType>(version, bytes) {
        let json = serde_json::to_value(&error).ok();
        let again = json.and_then(|json| serde_json::from_value::<ErrorType>(json).ok());
        assert_eq!(
            again.map(|again| again.to_string()),
            Some(error.to_string())
        );
    }
}

/// The content of a block: transmissions, which are made again from what was understood of them.
pub fn smp_transmission_block(data: &[u8]) {
    let Some((version, bytes)) = versioned(data) else {
        return;
    };
    let content = Bytes::copy_from_slice(bytes);
    let Some(transmissions) = batch::unpack(&content) else {
        return;
    };
    let mut packed = BytesMut::new();
    batch::put_content(&transmissions, &mut packed);
    assert_eq!(packed, content);
    let id = Id::try_from([7; 32].as_slice()).unwrap_or_default();
    let session = Session { version, id };
    for bytes in &transmissions {
        transmission(&session, bytes);
    }
}

fn transmission(session: &Session, bytes: &Bytes) {
    let Ok(parsed) = Transmission::parse(session, bytes) else {
        return;
    };
    assert!(
        parsed
            .authorized(session)
            .to_bytes()
            .ends_with(&parsed.authorized)
    );
    assert!(parsed.authorized.ends_with(&parsed.command));
    let Ok(command) = parsed.parse_command(session.version) else {
        return;
    };
    let (corr_id, entity_id) = (&parsed.corr_id, &parsed.entity_id);
    let again = Unauthorized::new(session, corr_id, entity_id, &command).authorize(
        session,
        parsed.authorization.as_ref(),
        parsed.service_signature.as_ref(),
    );
    let again = Transmission::parse(session, &again);
    let ours = again.as_ref().map(|again| Transmission {
        authorized: parsed.authorized.clone(),
        command: parsed.command.clone(),
        ..again.clone()
    });
    assert_eq!(ours.as_ref(), Ok(&parsed));
    let command = again.map(|again| again.parse_command(session.version)) == Ok(Ok(command));
    assert!(command, "another command is read");
}
