//! Reading a JSON text once, strictly, for all who want to know something of it.
//!
//! The grammar is RFC 8259's: what passes here, every strict parser takes. Two
//! things are bounded beyond it, as parsers behind may recurse: values nest at
//! most [`MAX_DEPTH`] deep, and what is no UTF-8 is refused.

use std::ops::Range;

use super::run::run;
use super::token;

/// Deepest nesting that is taken.
pub const MAX_DEPTH: usize = 128;

/// What is told of a text that is read, in the order of the text. Places are byte
/// offsets into it.
pub trait Sink<'j> {
    /// An object or a list begins at `at`.
    fn begin(&mut self, _kind: Kind, _at: usize) {}
    /// The innermost object or list has ended before `after`.
    fn end(&mut self, _after: usize) {}
    /// A text begins: its runs and escapes follow, then its end.
    fn begin_text(&mut self) {}
    /// Characters of a text that stand for themselves; never empty.
    fn run(&mut self, _characters: &'j [u8]) {}
    /// A character of a text that an escape spells; `None` for half a surrogate
    /// pair, which is none.
    fn escaped(&mut self, _character: Option<char>) {}
    /// A text has ended.
    fn text(&mut self, text: Text<'j>);
    /// A number stands at `at`, spelt so.
    fn number(&mut self, _spelling: &'j [u8], _at: usize) {}
    /// `null`, `true` or `false` stands at `at`.
    fn word(&mut self, _word: Word, _at: usize) {}
}

/// What holds other values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object.
    Object,
    /// A list.
    List,
}

/// A word that is a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `null`.
    Null,
    /// `true`.
    True,
    /// `false`.
    False,
}

/// A text that was read.
#[derive(Clone, Copy, Debug)]
pub struct Text<'j> {
    /// Between its quotes, escapes and all.
    pub raw: &'j [u8],
    /// Where its opening quote stands.
    pub at: usize,
    /// Whether it has escapes.
    pub escaped: bool,
    /// Whether it is the name of a member, and no value.
    pub is_name: bool,
}

impl Word {
    /// How it is spelt.
    pub const fn spelling(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::True => "true",
            Self::False => "false",
        }
    }
}

impl Text<'_> {
    /// Where it stands, quotes included.
    pub const fn span(&self) -> Range<usize> {
        self.at..self.at + self.raw.len() + 2
    }
}

/// Why a text is not taken, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: What,
    /// Where it was seen.
    pub at: usize,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is no JSON.
    Malformed,
    /// It ends before its value does.
    EndsEarly,
    /// A text in it is not UTF-8.
    NotUtf8,
    /// It nests deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// Reads the one value that `json` is and tells `sink` of it. After a fault what
/// was told is worth nothing.
///
/// # Errors
/// The first fault in the order of the text.
pub fn read<'j>(json: &'j [u8], sink: &mut impl Sink<'j>) -> Result<(), Fault> {
    Reader { json, at: 0, depth: 0, objects: 0 }.read(sink)
}

struct Reader<'j> {
    json: &'j [u8],
    at: usize,
    depth: usize,
    /// What is open, innermost in the lowest bit: 1 for an object.
    objects: u128,
}

impl<'j> Reader<'j> {
    fn read(&mut self, sink: &mut impl Sink<'j>) -> Result<(), Fault> {
        loop {
            // Here a value is due.
            match self.token()? {
                b'"' => self.text(sink, false)?,
                b'{' => {
                    self.open(sink, Kind::Object)?;
                    if self.token()? != b'}' {
                        self.name(sink)?;
                        continue;
                    }
                    self.close(sink);
                }
                b'[' => {
                    self.open(sink, Kind::List)?;
                    if self.token()? != b']' {
                        continue;
                    }
                    self.close(sink);
                }
                b'n' => self.word(sink, Word::Null)?,
                b't' => self.word(sink, Word::True)?,
                b'f' => self.word(sink, Word::False)?,
                _ => self.number(sink)?,
            }
            if self.after_value(sink)? {
                return Ok(());
            }
        }
    }

    /// Reads on after a value until another is due; true at the end.
    fn after_value(&mut self, sink: &mut impl Sink<'j>) -> Result<bool, Fault> {
        while self.depth > 0 {
            let in_object = self.objects & 1 == 1;
            match self.token()? {
                b',' => {
                    self.at += 1;
                    if in_object {
                        self.name(sink)?;
                    }
                    return Ok(false);
                }
                b'}' if in_object => self.close(sink),
                b']' if !in_object => self.close(sink),
                _ => return Err(self.malformed()),
            }
        }
        match token(self.json, self.at) {
            None => Ok(true),
            Some((_, at)) => Err(Fault { what: What::Malformed, at }),
        }
    }

    /// The next byte that is no white space; it stays unread.
    fn token(&mut self) -> Result<u8, Fault> {
        let (byte, at) = token(self.json, self.at).ok_or_else(|| self.ends_early())?;
        self.at = at;
        Ok(byte)
    }

    fn open(&mut self, sink: &mut impl Sink<'j>, kind: Kind) -> Result<(), Fault> {
        if self.depth == MAX_DEPTH {
            return Err(Fault { what: What::TooDeep, at: self.at });
        }
        sink.begin(kind, self.at);
        self.at += 1;
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(kind == Kind::Object);
        Ok(())
    }

    fn close(&mut self, sink: &mut impl Sink<'j>) {
        self.at += 1;
        self.depth -= 1;
        self.objects >>= 1;
        sink.end(self.at);
    }

    /// Reads a name and the colon after it.
    fn name(&mut self, sink: &mut impl Sink<'j>) -> Result<(), Fault> {
        if self.token()? != b'"' {
            return Err(self.malformed());
        }
        self.text(sink, true)?;
        if self.token()? != b':' {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, sink: &mut impl Sink<'j>, word: Word) -> Result<(), Fault> {
        let spelling = word.spelling().as_bytes();
        let rest = self.json.get(self.at..).unwrap_or_default();
        if !rest.starts_with(spelling) {
            let cut = spelling.starts_with(rest);
            return Err(if cut { self.ends_early() } else { self.malformed() });
        }
        sink.word(word, self.at);
        self.at += spelling.len();
        Ok(())
    }

    fn number(&mut self, sink: &mut impl Sink<'j>) -> Result<(), Fault> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        sink.number(self.json.get(start..self.at).unwrap_or_default(), start);
        Ok(())
    }

    /// Reads one digit and all that follow it.
    fn digits(&mut self) -> Result<(), Fault> {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(if rest.is_empty() { self.ends_early() } else { self.malformed() });
        }
        self.at += count;
        Ok(())
    }

    fn byte(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn text(&mut self, sink: &mut impl Sink<'j>, is_name: bool) -> Result<(), Fault> {
        let open = self.at;
        self.at += 1;
        sink.begin_text();
        let (mut seen, mut escaped) = (0, false);
        loop {
            let rest = self.json.get(self.at..).unwrap_or_default();
            let length = run(rest, &mut seen);
            let (characters, rest) = rest.split_at_checked(length).unwrap_or_default();
            if !characters.is_empty() {
                sink.run(characters);
            }
            self.at += length;
            match rest.first() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape(sink)?;
                }
                Some(_) => return Err(self.malformed()),
                None => return Err(self.ends_early()),
            }
        }
        let raw = self.json.get(open + 1..self.at).unwrap_or_default();
        self.at += 1;
        if seen >= 0x80
            && let Err(error) = std::str::from_utf8(raw)
        {
            return Err(Fault { what: What::NotUtf8, at: open + 1 + error.valid_up_to() });
        }
        sink.text(Text { raw, at: open, escaped, is_name });
        Ok(())
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, sink: &mut impl Sink<'j>) -> Result<(), Fault> {
        let character = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => {
                self.at += 1;
                let unit = self.hex()?;
                let character = match self.low_half(unit)? {
                    Some(low) => char::from_u32(0x1_0000 + ((unit - 0xD800) << 10) + low),
                    None => char::from_u32(unit),
                };
                sink.escaped(character);
                return Ok(());
            }
            Some(_) => return Err(self.malformed()),
            None => return Err(self.ends_early()),
        };
        self.at += 1;
        sink.escaped(Some(character));
        Ok(())
    }

    /// The lower half that follows `unit`, if that is the upper half of a pair. What
    /// follows is left unread where it is none.
    fn low_half(&mut self, unit: u32) -> Result<Option<u32>, Fault> {
        let after = self.json.get(self.at..).unwrap_or_default();
        if !(0xD800..0xDC00).contains(&unit) || !after.starts_with(b"\\u") {
            return Ok(None);
        }
        let here = self.at;
        self.at += 2;
        let low = self.hex()?.checked_sub(0xDC00).filter(|low| *low < 0x400);
        if low.is_none() {
            self.at = here;
        }
        Ok(low)
    }

    /// Four hexadecimal digits.
    fn hex(&mut self) -> Result<u32, Fault> {
        let mut unit = 0;
        for _ in 0..4 {
            let byte = self.byte().ok_or_else(|| self.ends_early())?;
            let digit = char::from(byte).to_digit(16).ok_or_else(|| self.malformed())?;
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    const fn malformed(&self) -> Fault {
        Fault { what: What::Malformed, at: self.at }
    }

    const fn ends_early(&self) -> Fault {
        Fault { what: What::EndsEarly, at: self.json.len() }
    }
}

#[cfg(test)]
mod tests;
