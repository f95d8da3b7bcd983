//! YAML as descriptions use it: mappings, lists and texts. Anchors, tags and several documents are refused.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{DescriptionError, MAX_TEXT};

/// A document. Repeated keys and what nobody asks for are kept.
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
        self.optional(name).ok_or(DescriptionError::Missing(name))
    }

    pub(super) fn optional(&self, name: &str) -> Option<&Self> {
        let Self::Mapping(fields) = self else {
            return None;
        };
        let mut fields = fields.iter();
        fields
            .find(|(key, _)| matches!(key, Self::Plain(key) | Self::Quoted(key) if key == name))
            .map(|(_, value)| value)
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

/// The text as a plain word if it would be read as the same text, in quotes otherwise.
pub(super) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_=:/@.,+-".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    match starts && text.chars().all(plain) && !text.ends_with(':') && !is_other(text) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// Whether a plain word is something else than a text.
fn is_other(word: &str) -> bool {
    const WORDS: [&str; 9] = ["", "~", "null", "true", "false", "yes", "no", "on", "off"];
    WORDS.iter().any(|other| word.eq_ignore_ascii_case(other))
        || word.parse::<f64>().is_ok()
        || word
            .strip_prefix("0x")
            .is_some_and(|hex| u64::from_str_radix(hex, 16).is_ok())
        || word
            .strip_prefix("0o")
            .is_some_and(|octal| u64::from_str_radix(octal, 8).is_ok())
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_comes_back(text in "[ -~]{0,40}") {
            let document = Node::parse(&format!("key: {}\n", scalar(&text))).unwrap();
            prop_assert_eq!(document.field("key").unwrap().text(), Some(text.as_str()));
        }
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
