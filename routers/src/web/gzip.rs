//! Pages that travel compressed: once, before anybody asks for them.

use miniz_oxide::deflate::compress_to_vec;

/// What a browser says that it can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// Pages as they are.
    Plain,
    /// Compressed ones, too.
    Gzip,
}

impl Accepted {
    /// What the header says of which browsers tell it.
    pub(crate) fn by(header: &str) -> Self {
        let is_gzip = |coding: &str| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let is_wanted =
                weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|q| q > 0.0));
            ["gzip", "x-gzip"].contains(&name.as_str()) && is_wanted
        };
        match header.split(',').any(is_gzip) {
            true => Self::Gzip,
            false => Self::Plain,
        }
    }
}

/// What is smaller is not worth it, and what is larger costs too long.
const WORTH: std::ops::RangeInclusive<usize> = 512..=8 << 20;

/// How hard it is compressed.
const LEVEL: u8 = 6;

/// A text, compressed, if that is of use.
pub(super) fn compressed(kind: &str, text: &[u8]) -> Option<Vec<u8>> {
    let is_text = kind.starts_with("text/") || kind.contains("json") || kind.contains("svg");
    if !is_text || !WORTH.contains(&text.len()) {
        return None;
    }
    // Method and flags; no time; an unknown system.
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    out.extend_from_slice(&compress_to_vec(text, LEVEL));
    out.extend_from_slice(&crc32(text).to_le_bytes());
    let length = u32::try_from(text.len()).ok()?;
    out.extend_from_slice(&length.to_le_bytes());
    (out.len() < text.len()).then_some(out)
}

const fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        crc ^= *byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = match crc & 1 {
                0 => crc >> 1,
                _ => (crc >> 1) ^ 0xedb8_8320,
            };
            bit += 1;
        }
        rest = after;
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::inflate::decompress_to_vec;

    #[test]
    fn only_what_becomes_smaller_is_compressed_and_it_comes_back() {
        let text = "a text, a text, ".repeat(100);
        let zipped = compressed("text/css; charset=utf-8", text.as_bytes()).unwrap();
        let (deflated, end) = zipped[10..].split_at(zipped.len() - 18);
        assert_eq!(decompress_to_vec(deflated).unwrap(), text.as_bytes());
        assert_eq!(end[4..], 1600_u32.to_le_bytes());
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        for kind in ["application/json", "image/svg+xml", "text/javascript"] {
            assert!(compressed(kind, text.as_bytes()).is_some(), "{kind}");
        }
        assert_eq!(compressed("image/png", text.as_bytes()), None);
        assert_eq!(compressed("text/html", b"short"), None);
    }

    #[test]
    fn browsers_say_what_they_accept() {
        for gzip in ["gzip", "deflate, gzip;q=1.0, br", "x-gzip", "GZIP ; q=0.5"] {
            assert_eq!(Accepted::by(gzip), Accepted::Gzip, "{gzip}");
        }
        for plain in ["", "br", "gzip;q=0", "gzip; q=0.000, br", "identity"] {
            assert_eq!(Accepted::by(plain), Accepted::Plain, "{plain}");
        }
    }
}
