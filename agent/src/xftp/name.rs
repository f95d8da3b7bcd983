//! Names of files that strangers have chosen.

/// The longest name that file systems take.
pub(super) const LONGEST: usize = 255;

/// A name for a file in a directory of this machine: no path, nothing hidden, nothing that a terminal or a file system takes for
/// something else.
///
/// ```
/// use simplex_agent::xftp::local_name;
///
/// assert_eq!(local_name("photo.jpg"), "photo.jpg");
/// assert_eq!(local_name("../../.ssh/authorized_keys"), "authorized_keys");
/// assert_eq!(local_name(".."), "file");
/// ```
#[must_use]
pub fn local_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last
        .chars()
        .filter(|character| !character.is_control())
        .map(|character| match character {
            ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
            // Marks that turn the order of letters around hide what a name ends with.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '_',
            other => other,
        })
        .collect();
    let shown = clean.trim_start_matches('.').trim();
    let end = shown.floor_char_boundary(LONGEST);
    match &shown[..end] {
        "" => "file".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_its_directory() {
        for name in [
            "/etc/passwd",
            "..",
            ".",
            "",
            "a/../..",
            "C:\\x\\..",
            "\0",
            "..\n",
        ] {
            let local = local_name(name);
            assert!(!local.is_empty() && !local.starts_with('.'), "{local:?}");
            assert!(!local.contains(['/', '\\', '\0', '\n']), "{local:?}");
        }
        assert_eq!(local_name(&"ж".repeat(200)).len(), 254);
        assert_eq!(local_name("photo\u{202e}gpj.exe"), "photo_gpj.exe");
    }
}
