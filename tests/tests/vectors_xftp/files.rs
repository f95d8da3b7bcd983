//! Sizes of chunks, downloads, encryption of files.

use serde_json::{Value, json};
use simplex_sans_io::crypto::hash::{Sha512, sha256};
use simplex_sans_io::crypto::{Nonce, Secret, Tag};
use simplex_sans_io::xftp::chunk::{ChunkSize, DownloadKey, Upstream, chunk_sizes as sizes};
use simplex_sans_io::xftp::file::{FileDecryptor, FileEncryptor, FileHeader, Layout};
use simplex_tests::vectors::keys::x25519_pair;
use simplex_tests::vectors::{array, base64, cases, hex, hexed, number, text};

pub(super) fn chunk_sizes(group: &Value) {
    for case in cases(group) {
        let size = case["size"].as_u64().unwrap();
        let mut runs: Vec<(u32, usize)> = Vec::new();
        for chunk in sizes(size) {
            match runs.last_mut() {
                Some((bytes, count)) if *bytes == chunk.bytes() => *count += 1,
                _ => runs.push((chunk.bytes(), 1)),
            }
        }
        assert_eq!(json!(runs), case["chunks"], "{size}");
        let total: u64 = sizes(size)
            .iter()
            .map(|chunk| u64::from(chunk.bytes()))
            .sum();
        assert_eq!(json!(total), case["total"]);
        let single = ChunkSize::single(size).map(ChunkSize::bytes);
        assert_eq!(json!(single), case["single_chunk_size"]);
    }
}

pub(super) fn chunk_download(group: &Value) {
    for case in cases(group) {
        let recipient = DownloadKey::from(x25519_pair(&case["recipient_key"]));
        let router = x25519_pair(&case["server_key"]);
        let nonce = Nonce::from(array::<24>(&case["nonce"]));
        assert_eq!(
            hexed(router.agree(&recipient.public_key()).as_bytes()),
            case["secret"]
        );
        let Upstream {
            key,
            nonce,
            mut encryptor,
        } = Upstream::with(&router, nonce, &recipient.public_key());
        let mut bytes = hex(&case["chunk"]);
        bytes
            .chunks_mut(7)
            .for_each(|piece| encryptor.update(piece));
        let tag = encryptor.finish();
        let sent = [&bytes[..], tag.as_bytes()].concat();
        assert_eq!(hexed(&sent), case["sent_bytes"]);

        let mut decryptor = recipient.decryptor(&key, &nonce);
        bytes
            .chunks_mut(5)
            .for_each(|piece| decryptor.update(piece));
        assert_eq!(hexed(&bytes), case["chunk"]);
        assert_eq!(decryptor.finish(&Tag::from_bytes(*tag.as_bytes())), Ok(()));
    }
}

pub(super) fn file_encryption(group: &Value) {
    for case in cases(group) {
        let content = match text(&case["content"]).len() <= 200 {
            true => hex(&case["content"]),
            false => base64(&case["content"]),
        };
        let header = header(case);
        assert_eq!(hexed(header.encode()), case["header"]);
        let layout = Layout::of(&header, content.len() as u64).unwrap();
        let chunks: Vec<u32> = layout.chunks().iter().map(|chunk| chunk.bytes()).collect();
        assert_eq!(json!(chunks), case["chunk_sizes"]);
        assert_eq!(json!(layout.encrypted_size()), case["encrypted_size"]);
        assert_eq!(
            header.encode().len() + content.len(),
            number(&case["file_size_with_header"])
        );

        let (key, nonce) = secrets(case);
        let encrypted = encrypted(&key, &nonce, &header, &layout, &content);
        assert_eq!(hexed(sha256(&encrypted)), case["encrypted_sha256"]);
        let mut sha512 = Sha512::new();
        sha512.update(&encrypted);
        assert_eq!(hexed(sha512.finish()), case["encrypted_sha512"]);
        assert_eq!(hexed(&encrypted[..256]), case["encrypted_prefix_256"]);
        assert_eq!(hexed(&encrypted[encrypted.len() - 16..]), case["tag"]);
        assert_eq!(
            decrypted(&key, &nonce, &encrypted, 1000),
            Some((header, content))
        );
    }
}

/// The name, and what its encoding has after it.
fn header(case: &Value) -> FileHeader {
    let header = FileHeader::new(text(&case["file_name"]));
    match hex(&case["header"])[header.name().len() + 1..] {
        [b'1', _, ref extra @ ..] => header.with_extra(std::str::from_utf8(extra).unwrap()),
        _ => header,
    }
}

fn secrets(case: &Value) -> (Secret<32>, Nonce) {
    let key = Secret::from_bytes(array(&case["key"]));
    (key, Nonce::from(array::<24>(&case["nonce"])))
}

fn encrypted(
    key: &Secret<32>,
    nonce: &Nonce,
    header: &FileHeader,
    layout: &Layout,
    content: &[u8],
) -> Vec<u8> {
    let (mut encryptor, front) = FileEncryptor::begin(key, nonce, header, layout);
    let mut encrypted = front.to_vec();
    for piece in content.chunks(999) {
        encrypted.extend_from_slice(&encryptor.content(piece).unwrap());
    }
    while let Some(filler) = encryptor.filler().unwrap() {
        encrypted.extend_from_slice(&filler);
    }
    encrypted
}

fn decrypted(
    key: &Secret<32>,
    nonce: &Nonce,
    encrypted: &[u8],
    cut: usize,
) -> Option<(FileHeader, Vec<u8>)> {
    let mut decryptor = FileDecryptor::new(key, nonce, encrypted.len() as u64).ok()?;
    let mut content = Vec::new();
    for piece in encrypted.chunks(cut) {
        content.extend_from_slice(&decryptor.update(piece).ok()?);
    }
    Some((decryptor.finish().ok()?, content))
}

pub(super) fn file_decryption(group: &Value) {
    let (key, nonce) = secrets(group);
    let wrong_key = Secret::from_bytes(array(&group["wrong_key"]));
    let content: Vec<u8> = (0..200_000_u32)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect();
    let header = FileHeader::new("big.bin");
    assert_eq!(hexed(header.encode()), group["header"]);
    let chunks: Vec<ChunkSize> = cases(&group["chunk_sizes"])
        .map(|size| ChunkSize::of(u32::try_from(number(size)).unwrap()).unwrap())
        .collect();
    let layout = Layout::in_chunks(&header, content.len() as u64, chunks).unwrap();
    let encrypted = encrypted(&key, &nonce, &header, &layout, &content);
    assert_eq!(hexed(sha256(&encrypted)), group["encrypted_sha256"]);

    for case in cases(&group["cases"]) {
        let lengths: Vec<usize> = cases(&case["chunk_lengths"]).map(number).collect();
        let mut altered = encrypted[..lengths.iter().sum()].to_vec();
        let last = altered.len() - 1;
        let mut used_key = &key;
        match text(&case["case"]) {
            "valid" | "one chunk" | "last chunk missing" => {}
            "tag changed" | "one chunk, tag changed" => altered[last] ^= 1,
            "content changed" => altered[100_000] ^= 1,
            "wrong key" => used_key = &wrong_key,
            "chunks swapped" => altered[..131_072].rotate_left(65_536),
            other => assert_eq!(other, "a known case"),
        }
        let ours = decrypted(used_key, &nonce, &altered, lengths[0]);
        let ours = ours
            .map(|(_, content)| json!({ "len": content.len(), "sha256": hexed(sha256(&content)) }));
        assert_eq!(ours.as_ref(), case.get("ok"), "{case}");
    }
}
