//! YAML as descriptions use it: mappings, lists and texts. Anchors, tags and several documents are refused.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{DescriptionError, MAX_TEXT};

/// A document. What nobody asks for is kept, and of a key that is repeated the last one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A word without quotes, which may be a number.
    Plain(String),
    Quoted(String),
    List(Vec<Self>),
    Mapping(Vec<(Self, Self)>),
}

/// How deep a document may be: twice as deep as descriptions are.
const DEPTH: usize = 16;

impl Node {
    pub(super) fn parse(text: &str) -> Result<Self, DescriptionError> {
        if text.len() > MAX_TEXT {
            return Err(DescriptionError::TooLong);
        }
        let mut events = Events(Parser::new_from_str(text));
        events.expect(&Event::StreamStart)?;
        if !matches!(events.next()?, Event::DocumentStart(_)) {
            return Err(DescriptionError::Missing("document"));
        }
        let first = events.next()?;
        let node = events.node(first, DEPTH)?;
        events.expect(&Event::DocumentEnd)?;
        events.expect(&Event::StreamEnd)?;
        Ok(node)
    }

    pub(super) fn field(&self, name: &'static str) -> Result<&Self, DescriptionError> {
        self.value(name).ok_or(DescriptionError::Missing(name))
    }

    /// The value of a key that need not be there: that it is nothing means the same.
    pub(super) fn optional(&self, name: &str) -> Option<&Self> {
        self.value(name).filter(|value| !value.is_nothing())
    }

    fn value(&self, name: &str) -> Option<&Self> {
        let Self::Mapping(fields) = self else {
            return None;
        };
        let mut fields = fields.iter().rev();
        fields
            .find(|(key, _)| matches!(key, Self::Plain(key) | Self::Quoted(key) if key == name))
            .map(|(_, value)| value)
    }

    fn is_nothing(&self) -> bool {
        const NOTHING: [&str; 5] = ["", "~", "null", "Null", "NULL"];
        matches!(self, Self::Plain(word) if NOTHING.contains(&word.as_str()))
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(nodes) => Some(nodes),
            Self::Plain(_) | Self::Quoted(_) | Self::Mapping(_) => None,
        }
    }

    /// A text: a word that is a number, a truth value or nothing is none.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Quoted(text) => Some(text),
            Self::Plain(text) if !is_other(text) => Some(text),
            Self::Plain(_) | Self::List(_) | Self::Mapping(_) => None,
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Plain(text) => text.parse().ok(),
            Self::Quoted(_) | Self::List(_) | Self::Mapping(_) => None,
        }
    }
}

/// The text as the reference writes it: as a plain word wherever that is allowed, as the reader of its web page knows no quotes.
///
/// Other characters than printable ASCII do not occur in descriptions.
pub(super) fn scalar(text: &str) -> String {
    match is_plain(text) && !is_other(text) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// Whether libyaml, which the reference writes with, would write a plain word outside of `[]` and `{}`.
fn is_plain(text: &str) -> bool {
    let mut rest = text.chars();
    let Some(first) = rest.next() else {
        return false;
    };
    let begins = match first {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
        | '@' | '`' | ' ' => false,
        '?' | ':' | '-' => !matches!(rest.clone().next(), None | Some(' ')),
        _ => true,
    };
    let is_marker = text.starts_with("---") || text.starts_with("...");
    let goes_on = !text.contains(": ") && !text.contains(" #");
    let ends = !text.ends_with([':', ' ']);
    let is_printable = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    begins && !is_marker && goes_on && ends && is_printable
}

/// Whether the reference reads something else than a text from a plain word.
fn is_other(word: &str) -> bool {
    const WORDS: [&str; 10] = [
        "~", "null", "true", "false", "yes", "no", "y", "n", "on", "off",
    ];
    let is = |known: &str| {
        let all = word == known || word == known.to_ascii_uppercase();
        let (first, rest) = known.split_at(1);
        let title = word.strip_prefix(&first.to_ascii_uppercase()) == Some(rest);
        all || title
    };
    word.is_empty() || WORDS.iter().any(|known| is(known)) || is_number(word)
}

/// `0x` or `0o` with digits, or a decimal number: a sign, digits, a point with digits or none, and an exponent.
fn is_number(word: &str) -> bool {
    let all = |digits: &str, radix| {
        !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
    };
    if let Some(digits) = word.strip_prefix("0x") {
        return all(digits, 16);
    }
    if let Some(digits) = word.strip_prefix("0o") {
        return all(digits, 8);
    }
    let unsigned = |number| str::strip_prefix(number, ['+', '-']).unwrap_or(number);
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (mantissa, ""),
    };
    all(unsigned(whole), 10)
        && (fraction.is_empty() || all(fraction, 10))
        && exponent.is_none_or(|exponent| all(unsigned(exponent), 10))
}

struct Events<'a>(Parser<'a, saphyr_parser::StrInput<'a>>);

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<Event<'a>, DescriptionError> {
        match self.0.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(at(&error)),
            None => Err(DescriptionError::Missing("document")),
        }
    }

    fn expect(&mut self, expected: &Event<'_>) -> Result<(), DescriptionError> {
        match self.next()? == *expected {
            true => Ok(()),
            false => Err(DescriptionError::Invalid("document")),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, DescriptionError> {
        let below = depth
            .checked_sub(1)
            .ok_or(DescriptionError::Invalid("document"))?;
        match event {
            Event::Scalar(text, ScalarStyle::Plain, _, None) => Ok(Node::Plain(text.into_owned())),
            Event::Scalar(text, _, _, None) => Ok(Node::Quoted(text.into_owned())),
            Event::SequenceStart(_, None) => {
                let mut nodes = Vec::new();
                loop {
                    let event = self.next()?;
                    if event == Event::SequenceEnd {
                        return Ok(Node::List(nodes));
                    }
                    nodes.push(self.node(event, below)?);
                }
            }
            Event::MappingStart(_, None) => {
                let mut fields = Vec::new();
                loop {
                    let event = self.next()?;
                    if event == Event::MappingEnd {
                        return Ok(Node::Mapping(fields));
                    }
                    let key = self.node(event, below)?;
                    let event = self.next()?;
                    fields.push((key, self.node(event, below)?));
                }
            }
            Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..)
            | Event::Alias(_)
            | Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Err(DescriptionError::Invalid("document")),
        }
    }
}

fn at(error: &ScanError) -> DescriptionError {
    DescriptionError::Yaml(error.marker().line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::base64url;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_comes_back(text in "[ -~]{0,40}") {
            let document = Node::parse(&format!("key: {}\n", scalar(&text))).unwrap();
            prop_assert_eq!(document.field("key").unwrap().text(), Some(text.as_str()));
            let document = Node::parse(&format!("- {}\n", scalar(&text))).unwrap();
            prop_assert_eq!(document.list().unwrap()[0].text(), Some(text.as_str()));
        }

        #[test]
        fn base64url_has_no_quotes(bytes in prop::collection::vec(any::<u8>(), 16..66)) {
            let text = base64url(&bytes);
            prop_assume!(!text.starts_with("---") && !is_number(&text));
            prop_assert_eq!(scalar(&text), text);
        }

        #[test]
        fn plain_words_and_both_kinds_of_quotes_are_read(text in "[ !#-&(-~]{1,40}") {
            for quoted in [format!("'{text}'"), format!("\"{}\"", text.replace('\\', "\\\\"))] {
                let document = Node::parse(&format!("key: {quoted}\n")).unwrap();
                prop_assert_eq!(document.field("key").unwrap().text(), Some(text.as_str()));
            }
        }
    }

    #[test]
    fn quotes_are_where_the_reference_writes_them() {
        for plain in [
            "-KyD3cpkLRb35Ps0guMM0bfwHjoYkLm",
            "--KyD",
            "_K",
            "64kb",
            "1:-A==:-B==:-C==:64kb",
            "xftp://LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=@[::1],[fe80::]:7443",
            "?a",
            ":a",
            "a#b",
            "a,b",
            "a]",
            "1e",
            "1e5x",
            ".5",
            "0xg",
            "nan",
            "inf",
            "yEs",
        ] {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in [
            "", "---A", "...", "-", "- a", "?", ":", "a:", "a: b", "a #b", " a", "a ", "[::1]",
            "]", "{a}", ",a", "@a", "*a", "%a", "#a", "\"a", "65536", "-1", "+1.", "1.5e-3", "1E5",
            "0xff", "0o17", "~", "null", "True", "NO", "y", "Off",
        ] {
            assert_eq!(scalar(quoted), format!("'{quoted}'"));
        }
        assert_eq!(scalar("'a'"), "'''a'''");
    }

    #[test]
    fn what_grows_by_itself_is_refused() {
        for text in ["a: &x b\nc: *x\n", "a: !!str b\n", "--- a\n--- b\n"] {
            assert!(Node::parse(text).is_err(), "{text}");
        }
        assert!(Node::parse(&"[".repeat(DEPTH + 1)).is_err());
        assert!(Node::parse(&"- ".repeat(1000)).is_err());
    }

    #[test]
    fn numbers_are_no_texts() {
        let document = Node::parse("a: 65536\nb: '65536'\nc: 1e5\nd: ~\n").unwrap();
        let field = |name| document.field(name).unwrap();
        assert_eq!(
            (field("a").text(), field("a").number()),
            (None, Some(65536))
        );
        assert_eq!(
            (field("b").text(), field("b").number()),
            (Some("65536"), None)
        );
        assert_eq!((field("c").text(), field("d").text()), (None, None));
    }
}
