//! XFTP: blocks, descriptions and links, encrypted files.

use bytes::Bytes;

use super::{decoded, written_alike};
use crate::crypto::{Nonce, Secret};
use crate::wire::{Id, Version, padding};
use crate::xftp::description::{FileDescription, FileSize, FileUri, WebLink};
use crate::xftp::file::{FileDecryptor, FileEncryptor, FileHeader, Layout};
use crate::xftp::handshake::{self, ClientHandshake, ClientHello, RouterHello};
use crate::xftp::router::store::{FORMAT, FileRecord, Recipient};
use crate::xftp::storelog::{Files, parse_record};
use crate::xftp::transmission::{Session, Transmission};
use crate::xftp::{BLOCK, Command, Response};

/// The content of a block, in every role that a block has, and the records of a store.
pub fn xftp_block(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let version = Version(u16::from(first % 5));
    decoded::<Command>(version, bytes);
    written_alike::<Response>(version, bytes);
    decoded::<ClientHello>(version, bytes);
    decoded::<ClientHandshake>(version, bytes);
    written_alike::<RouterHello>(version, bytes);
    decoded::<FileRecord>(FORMAT, bytes);
    decoded::<Recipient>(FORMAT, bytes);
    let Ok(block) = padding::pad(bytes, BLOCK) else {
        return;
    };
    let block = block.freeze();
    let hello = handshake::of_block::<ClientHello>(&block);
    assert_eq!(hello.is_ok(), prefix_of::<ClientHello>(bytes));
    let session = Session {
        version,
        id: Id::EMPTY,
    };
    let read = Transmission::of_block(&session, &block);
    let content = Bytes::copy_from_slice(bytes);
    assert_eq!(Transmission::of_content(&session, &content), read);
    if let Ok(transmission) = read {
        transmission.parse_command(version).ok();
        transmission.parse_response(version).ok();
    }
}

fn prefix_of<T: crate::wire::Wire>(bytes: &[u8]) -> bool {
    crate::wire::decode_prefix::<T>(Version::default(), &Bytes::copy_from_slice(bytes)).is_ok()
}

/// Descriptions, URIs, links, sizes, and the lines of a store log.
pub fn xftp_description(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(description) = text.parse::<FileDescription>() {
        let written = description.to_string();
        let again: Result<FileDescription, _> = written.parse();
        let again = again.map(|again| again.to_string());
        assert_eq!(again, Ok(written), "another description is written");
        let link = WebLink::to(&description);
        let read = link.description().map(|read| read.to_string());
        assert_eq!(read, Ok(description.to_string()));
    }
    if let Ok(uri) = text.parse::<FileUri>() {
        let written = uri.to_string();
        let again = written.parse::<FileUri>().map(|again| again.to_string());
        assert_eq!(again, Ok(written));
    }
    if let Ok(link) = text.parse::<WebLink>() {
        link.description().ok();
    }
    if let Ok(size) = text.parse::<FileSize>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    let mut files = Files::default();
    for line in text.lines() {
        if let Ok(record) = parse_record(line) {
            assert_eq!(parse_record(&record.to_string()).as_ref(), Ok(&record));
            files.replay(record).ok();
        }
    }
}

/// A file as it is decrypted: however it is cut it is the same, and what was changed is refused.
pub fn xftp_file(data: &[u8]) {
    let [cut, at, change, bytes @ ..] = data else {
        return;
    };
    let (key, nonce) = (Secret::from_bytes([7; 32]), Nonce::from([5; 24]));
    let cut = usize::from(*cut).saturating_add(1);
    let decrypt = |encrypted: &[u8], cut: usize| {
        let size = u64::try_from(encrypted.len()).unwrap_or(u64::MAX);
        let mut decryptor = FileDecryptor::new(&key, &nonce, size).ok()?;
        let mut content = Vec::new();
        for piece in encrypted.chunks(cut) {
            content.extend_from_slice(&decryptor.update(piece).ok()?);
        }
        Some((decryptor.finish().ok()?, content))
    };
    assert_eq!(decrypt(bytes, cut), None, "nobody has this key");

    let text = String::from_utf8_lossy(bytes);
    let header = FileHeader::new(&text);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let Ok(layout) = Layout::of(&header, length) else {
        return;
    };
    let (mut encryptor, mut encrypted) = FileEncryptor::begin(&key, &nonce, &header, &layout);
    for piece in bytes.chunks(cut) {
        let piece = encryptor.content(piece);
        encrypted.extend_from_slice(&piece.unwrap_or_default());
    }
    while let Ok(Some(filler)) = encryptor.filler() {
        encrypted.extend_from_slice(&filler);
    }
    let whole = Some((header, bytes.to_vec()));
    assert_eq!(decrypt(&encrypted, cut.saturating_mul(7)), whole);
    let at = usize::from(*at).saturating_mul(usize::from(*change));
    if let (Some(byte), 1..) = (encrypted.get_mut(at), change) {
        *byte ^= change;
        assert_eq!(decrypt(&encrypted, 65536), None, "a change was not seen");
    }
}
