//! The configuration files of routers: sections of keys and values.
//!
//! A value follows `=` or `:`, whichever comes first; a line that begins with `#` or `;` is a comment. Both are what the routers of the
//! reference implementation read.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The keys of [INFORMATION], which are those of every router.
pub(crate) const INFORMATION: &[&str] = &[
    "source_code",
    "usage_conditions",
    "condition_amendments",
    "server_country",
    "operator",
    "operator_country",
    "website",
    "admin_simplex",
    "admin_email",
    "admin_pgp",
    "admin_pgp_fingerprint",
    "complaints_simplex",
    "complaints_email",
    "complaints_pgp",
    "complaints_pgp_fingerprint",
    "hosting",
    "hosting_country",
    "hosting_type",
];

/// What is shown of [INFORMATION], with its names for people. Nothing is said of a router whose source code is not named.
pub(crate) fn information(ini: &Ini) -> Vec<(&'static str, String)> {
    const SHOWN: [(&str, &str); 18] = [
        ("Source code", "source_code"),
        ("Usage conditions", "usage_conditions"),
        ("Amendments", "condition_amendments"),
        ("Country", "server_country"),
        ("Operator", "operator"),
        ("Operator's country", "operator_country"),
        ("Website", "website"),
        ("Administrator", "admin_email"),
        ("Administrator, in SimpleX", "admin_simplex"),
        ("Administrator's PGP key", "admin_pgp"),
        ("Its fingerprint", "admin_pgp_fingerprint"),
        ("Complaints", "complaints_email"),
        ("Complaints, in SimpleX", "complaints_simplex"),
        ("PGP key for complaints", "complaints_pgp"),
        ("Its fingerprint", "complaints_pgp_fingerprint"),
        ("Hosting", "hosting"),
        ("Hosting country", "hosting_country"),
        ("Hosting type", "hosting_type"),
    ];
    if ini.get("INFORMATION", "source_code").is_none() {
        return Vec::new();
    }
    let said = SHOWN.iter().filter_map(|(name, key)| {
        let value = ini.get("INFORMATION", key)?;
        Some((*name, value.to_owned()))
    });
    said.collect()
}

/// A configuration file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ini {
    sections: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    value: String,
    line: usize,
}

/// What is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IniError {
    /// A line is neither a section nor a key with a value.
    #[error("line {line} is neither a [SECTION] nor `key = value`: {text}")]
    Line {
        /// Which one.
        line: usize,
        /// What it says.
        text: String,
    },
    /// A key stands before the first section.
    #[error("line {line}: the key `{key}` stands before the first [SECTION]")]
    NoSection {
        /// Which line.
        line: usize,
        /// The key.
        key: String,
    },
    /// A key is there twice.
    #[error(
        "line {line}: `{key}` in [{section}] was set before, in line {before}: remove one of them"
    )]
    Twice {
        /// The line of the second one.
        line: usize,
        /// The line of the first one.
        before: usize,
        /// The section.
        section: String,
        /// The key.
        key: String,
    },
    /// A key that must be there is not.
    #[error("`{key}` is missing in [{section}]")]
    Missing {
        /// The section.
        section: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A value is not what it should be.
    #[error("line {line}: `{key}` in [{section}] is `{value}`, but has to be {expected}")]
    Value {
        /// Which line.
        line: usize,
        /// The section.
        section: &'static str,
        /// The key.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
}

impl FromStr for Ini {
    type Err = IniError;

    fn from_str(text: &str) -> Result<Self, IniError> {
        let mut ini = Self::default();
        let mut section: Option<String> = None;
        // Editors may begin a text with this.
        let text = text.trim_start_matches('\u{feff}');
        for (index, text) in text.lines().enumerate() {
            let (line, text) = (index + 1, text.trim());
            if text.is_empty() || text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = text
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                let name = name.trim().to_owned();
                ini.sections.entry(name.clone()).or_default();
                section = Some(name);
                continue;
            }
            let Some((key, value)) = text.split_once(['=', ':']) else {
                let text = text.to_owned();
                return Err(IniError::Line { line, text });
            };
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            let Some(section) = &section else {
                return Err(IniError::NoSection { line, key });
            };
            let keys = ini.sections.entry(section.clone()).or_default();
            if let Some(before) = keys.get(&key) {
                return Err(IniError::Twice {
                    line,
                    before: before.line,
                    section: section.clone(),
                    key,
                });
            }
            keys.insert(key, Entry { value, line });
        }
        Ok(ini)
    }
}

impl Ini {
    /// The value of a key; one that is empty is as good as none.
    #[must_use]
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        let entry = self.entry(section, key)?;
        Some(entry.value.as_str())
    }

    fn entry(&self, section: &str, key: &str) -> Option<&Entry> {
        let entry = self.sections.get(section)?.get(key)?;
        (!entry.value.is_empty()).then_some(entry)
    }

    /// All keys with their values, by section.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.sections.iter().flat_map(|(section, keys)| {
            keys.iter()
                .map(move |(key, entry)| (section.as_str(), key.as_str(), entry.value.as_str()))
        })
    }

    /// The value of a key that must be there.
    pub fn required(&self, section: &'static str, key: &'static str) -> Result<&str, IniError> {
        self.get(section, key)
            .ok_or(IniError::Missing { section, key })
    }

    /// Whether a switch is `on` or `off`.
    pub fn switch(
        &self,
        section: &'static str,
        key: &'static str,
        default: Switch,
    ) -> Result<Switch, IniError> {
        let read = |value: &str| match value {
            "on" => Some(Switch::On),
            "off" => Some(Switch::Off),
            _ => None,
        };
        let value = self.read(section, key, "`on` or `off`", read)?;
        Ok(value.unwrap_or(default))
    }

    /// A value that is parsed.
    pub fn parse<T: FromStr>(
        &self,
        section: &'static str,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, IniError> {
        self.read(section, key, expected, |value| value.parse().ok())
    }

    /// A value that is read in some other way.
    pub fn read<T>(
        &self,
        section: &'static str,
        key: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, IniError> {
        let Some(entry) = self.entry(section, key) else {
            return Ok(None);
        };
        match read(&entry.value) {
            Some(value) => Ok(Some(value)),
            None => Err(IniError::Value {
                line: entry.line,
                section,
                key,
                // What is wrong may end in a log.
                value: match key.ends_with("password") {
                    true => "[redacted]".to_owned(),
                    false => entry.value.clone(),
                },
                expected,
            }),
        }
    }

    /// The keys that are not among the known ones, with their lines: one that is misspelt must not be ignored in silence.
    #[must_use]
    pub fn unknown(&self, known: &[(&str, &[&str])]) -> Vec<String> {
        let mut unknown = Vec::new();
        for (section, keys) in &self.sections {
            let known = known.iter().find(|(name, _)| name == section);
            for (key, entry) in keys {
                if !known.is_some_and(|(_, keys)| keys.contains(&key.as_str())) {
                    unknown.push(format!("`{key}` in [{section}] (line {})", entry.line));
                }
            }
        }
        unknown
    }
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// It is on.
    On,
    /// It is off.
    #[default]
    Off,
}

impl Switch {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_are_read_and_the_first_one_counts() {
        let ini: Ini =
            "\u{feff}# a comment\n[TRANSPORT]\nhost: smp.example.com\nport = 5223,443\r\n\
            socks=localhost:9050\nempty =\n; another\n[AUTH]\ncreate_password = a=b:c\n"
                .parse()
                .unwrap();
        assert_eq!(ini.get("TRANSPORT", "host"), Some("smp.example.com"));
        assert_eq!(ini.get("TRANSPORT", "port"), Some("5223,443"));
        assert_eq!(ini.get("TRANSPORT", "socks"), Some("localhost:9050"));
        assert_eq!(ini.get("TRANSPORT", "empty"), None);
        assert_eq!(ini.get("AUTH", "create_password"), Some("a=b:c"));
        assert_eq!(ini.get("NONE", "host"), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let error = |text: &str| text.parse::<Ini>().unwrap_err().to_string();
        assert!(error("[A]\nwhat").starts_with("line 2 is neither"));
        assert!(error("a = 1").contains("before the first [SECTION]"));
        assert!(error("[A]\na = 1\na = 2").contains("was set before, in line 2"));
        let ini: Ini = "[A]\nenable = yes\nb = 1\nc = 2".parse().unwrap();
        let error = ini.switch("A", "enable", Switch::Off).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: `enable` in [A] is `yes`, but has to be `on` or `off`"
        );
        assert_eq!(
            ini.required("A", "z").unwrap_err().to_string(),
            "`z` is missing in [A]"
        );
        let ini: Ini = "[A]\nb_password = a b".parse().unwrap();
        let error = ini.parse::<u8>("A", "b_password", "a number").unwrap_err();
        assert!(error.to_string().contains("`[redacted]`"));
        let ini: Ini = "[A]\nenable = yes\nb = 1\nc = 2".parse().unwrap();
        let unknown = ini.unknown(&[("A", &["enable"])]);
        assert_eq!(unknown, ["`b` in [A] (line 3)", "`c` in [A] (line 4)"]);
        assert!(ini.unknown(&[("A", &["enable", "b", "c"])]).is_empty());
    }
}
