//! Descriptions in web links: compressed, in the part of the link that browsers keep to themselves.

use std::fmt;
use std::str::FromStr;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::{DescriptionError, FileDescription, MAX_IN_LINK};
use crate::wire::text::{base64url, parse_base64url_field};

/// A link to a web page that fetches the file: a router's, as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebLink {
    /// The address of the page, with its scheme.
    page: String,
    /// The compressed description.
    compressed: Vec<u8>,
}

/// How hard a description is compressed: keys do not become smaller.
const LEVEL: u8 = 9;

impl WebLink {
    /// A link to the page of the router that has the first chunk.
    #[must_use]
    pub fn to(description: &FileDescription) -> Self {
        let replica = description
            .chunks
            .first()
            .and_then(|chunk| chunk.replicas.first());
        let host = replica.and_then(|replica| replica.server.hosts().first());
        let host = host.map(ToString::to_string).unwrap_or_default();
        Self::on(&format!("https://{host}/"), description)
    }

    /// A link to the page with this address.
    #[must_use]
    pub fn on(page: &str, description: &FileDescription) -> Self {
        Self {
            page: page.to_owned(),
            compressed: compress_to_vec(description.to_string().as_bytes(), LEVEL),
        }
    }

    /// The address of the page.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.page
    }

    /// What follows the `#`.
    #[must_use]
    pub fn fragment(&self) -> String {
        base64url(&self.compressed)
    }

    /// The description. What does not compress as descriptions do is refused before it is large.
    pub fn description(&self) -> Result<FileDescription, DescriptionError> {
        let text = decompress_to_vec_with_limit(&self.compressed, MAX_IN_LINK)
            .map_err(|_| DescriptionError::Link)?;
        let text = std::str::from_utf8(&text).map_err(|_| DescriptionError::Link)?;
        text.parse()
    }
}

impl FromStr for WebLink {
    type Err = DescriptionError;

    fn from_str(text: &str) -> Result<Self, DescriptionError> {
        let (page, fragment) = text.split_once('#').ok_or(DescriptionError::Link)?;
        if !page.starts_with("https://") && !page.starts_with("http://") {
            return Err(DescriptionError::Link);
        }
        if fragment.len() > MAX_IN_LINK.saturating_mul(2) {
            return Err(DescriptionError::TooLong);
        }
        // Some programs escape what it ends with.
        let fragment = fragment.replace("%3D", "=").replace("%3d", "=");
        let compressed = parse_base64url_field(&fragment).map_err(|_| DescriptionError::Link)?;
        Ok(Self {
            page: page.to_owned(),
            compressed,
        })
    }
}

impl fmt::Display for WebLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.page, self.fragment())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = compress_to_vec(&vec![b'#'; 100 << 20], LEVEL);
        assert!(bomb.len() < 200_000);
        let link = format!("https://a/#{}", base64url(&bomb));
        let link: WebLink = link.parse().unwrap();
        assert_eq!(link.description(), Err(DescriptionError::Link));
    }
}
