//! The canonical form that a key is the hash of; see the parent module.

use crate::cache::key::{Context, Fields, WITH_EFFECT, WITHOUT_EFFECT};

/// Longest canonical form that stands for itself, in bytes; one chunk of BLAKE3.
pub(super) const LONG: usize = 1024;
/// Deepest nesting that is taken, as at intake.
const MAX_DEPTH: usize = 128;
/// Bytes before the content of a text or number: its tag and its length.
pub(super) const PREFIX: usize = 5;

const NULL: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const NUMBER: u8 = 3;
const TEXT: u8 = 4;
const ARRAY: u8 = 5;
const OBJECT: u8 = 6;
const END: u8 = 7;
/// Added to the tag of a value that its hash stands for.
const HASHED: u8 = 0x80;

/// A member of an object in the canonical form: where its name begins, where
/// its value does, and where it ends.
#[derive(Clone, Copy)]
struct Member {
    name: usize,
    value: usize,
    end: usize,
}

/// The canonical form in the making.
pub(super) struct Form<'a> {
    text: &'a [u8],
    at: usize,
    fields: Fields,
    pub(super) out: Vec<u8>,
    /// Members of the objects that are open, the innermost last.
    members: Vec<Member>,
    sorted: Vec<u8>,
    /// Which of the fields left out have come, to find repeated ones.
    left_out: u8,
}

impl<'a> Form<'a> {
    pub(super) fn new(text: &'a [u8], fields: Fields) -> Self {
        Self {
            text,
            at: 0,
            fields,
            out: Vec::with_capacity(text.len().min(4 * LONG) + 512),
            members: Vec::with_capacity(16),
            sorted: Vec::new(),
            left_out: 0,
        }
    }

    pub(super) fn context(&mut self, context: &Context<'_>) {
        self.put(Some(context.endpoint.as_bytes()));
        self.put(Some(context.class.as_bytes()));
        self.put(context.account.map(str::as_bytes));
        self.put(Some(context.model.as_bytes()));
        self.put(Some(context.provider.as_bytes()));
        self.put(context.provider_model.map(str::as_bytes));
        let max_output = context.max_output.map(u64::to_be_bytes);
        self.put(max_output.as_ref().map(<[u8; 8]>::as_slice));
        self.put(context.query.map(str::as_bytes));
        for name in &WITH_EFFECT {
            self.out.push(ARRAY);
            for value in context.headers.get_all(name) {
                self.put(Some(value.as_bytes()));
            }
            self.out.push(END);
        }
        for (name, value) in context.set {
            self.put(Some(name.as_str().as_bytes()));
            self.put(Some(value.as_bytes()));
        }
    }

    /// Puts a text that is no part of the body.
    fn put(&mut self, text: Option<&[u8]>) {
        let Some(text) = text else { return self.out.push(NULL) };
        let start = self.begin(TEXT);
        self.out.extend_from_slice(text);
        self.close_text(start);
    }

    /// The body: one object and nothing after it.
    pub(super) fn body(&mut self) -> Option<()> {
        (self.token()? == b'{').then_some(())?;
        self.object(0)?;
        self.token().is_none().then_some(())
    }

    /// The next byte that is no white space; it stays unread.
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.token()? {
            b'"' => self.string(),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'n' => self.literal(b"null", NULL),
            b't' => self.literal(b"true", TRUE),
            b'f' => self.literal(b"false", FALSE),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &[u8], tag: u8) -> Option<()> {
        let end = self.at + word.len();
        (self.text.get(self.at..end)? == word).then_some(())?;
        self.at = end;
        self.out.push(tag);
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let within = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| within(byte)).count();
        (length > 0).then_some(())?;
        let start = self.begin(NUMBER);
        self.out.extend_from_slice(rest.get(..length)?);
        self.at += length;
        self.close_text(start);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        let start = self.begin(TEXT);
        loop {
            let rest = self.text.get(self.at..)?;
            let run = memchr::memchr2(b'"', b'\\', rest)?;
            self.out.extend_from_slice(rest.get(..run)?);
            self.at += run + 1;
            if rest.get(run) == Some(&b'"') {
                break;
            }
            self.escape()?;
        }
        self.close_text(start);
        Some(())
    }

    /// Decodes what follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        self.out.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = self.hex()?;
                if (0xD800..0xDC00).contains(&code) {
                    (self.text.get(self.at..self.at + 2)? == b"\\u").then_some(())?;
                    self.at += 2;
                    let low = self.hex()?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
                    code = 0x1_0000 + ((code - 0xD800) << 10) + low;
                }
                let character = char::from_u32(code)?;
                self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        });
        Some(())
    }

    /// Four hexadecimal digits.
    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        (depth < MAX_DEPTH).then_some(())?;
        self.at += 1;
        let start = self.out.len();
        self.out.push(ARRAY);
        if self.token()? == b']' {
            self.at += 1;
        } else {
            loop {
                self.value(depth + 1)?;
                if self.goes_on(b']')? {
                    break;
                }
            }
        }
        self.out.push(END);
        self.close(start, ARRAY);
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        (depth < MAX_DEPTH).then_some(())?;
        self.at += 1;
        let start = self.out.len();
        self.out.push(OBJECT);
        let first = self.members.len();
        let mut ascending = true;
        if self.token()? == b'}' {
            self.at += 1;
        } else {
            loop {
                let member = self.member(depth)?;
                if depth == 0 && self.fields == Fields::WithEffect && self.leave_out(member)? {
                    self.out.truncate(member.name);
                } else {
                    let before = self.members.get(first..).and_then(<[Member]>::last);
                    ascending &= before.is_none_or(|before| self.name(*before) < self.name(member));
                    self.members.push(member);
                }
                if self.goes_on(b'}')? {
                    break;
                }
            }
        }
        if !ascending {
            self.sort(first)?;
        }
        self.members.truncate(first);
        self.out.push(END);
        self.close(start, OBJECT);
        Some(())
    }

    fn member(&mut self, depth: usize) -> Option<Member> {
        (self.token()? == b'"').then_some(())?;
        let name = self.out.len();
        self.string()?;
        (self.token()? == b':').then_some(())?;
        self.at += 1;
        let value = self.out.len();
        self.value(depth + 1)?;
        Some(Member { name, value, end: self.out.len() })
    }

    /// Reads what stands between two values, or after the last: true at `end`.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        let byte = self.token()?;
        self.at += 1;
        if byte == end { Some(true) } else { (byte == b',').then_some(false) }
    }

    /// Orders the members from `first` on by name; `None` if a name is repeated.
    fn sort(&mut self, first: usize) -> Option<()> {
        let out = &self.out;
        let name = |member: &Member| out.get(member.name..member.value).unwrap_or_default();
        let members = self.members.get_mut(first..)?;
        let start = members.first()?.name;
        members.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        let mut pairs = members.iter().zip(members.iter().skip(1));
        if pairs.any(|(a, b)| name(a) == name(b)) {
            return None;
        }
        self.sorted.clear();
        for member in members.iter() {
            self.sorted.extend_from_slice(out.get(member.name..member.end)?);
        }
        self.out.truncate(start);
        self.out.extend_from_slice(&self.sorted);
        Some(())
    }

    /// Whether a member of the body is no part of the key; `None` if it is a
    /// repeated one.
    fn leave_out(&mut self, member: Member) -> Option<bool> {
        let name = self.out.get(member.name + PREFIX..member.value).unwrap_or_default();
        let place = if name == b"stream_options" {
            if !self.says_usage_alone(member) {
                return Some(false);
            }
            WITHOUT_EFFECT.len()
        } else {
            match WITHOUT_EFFECT.iter().position(|field| field.as_bytes() == name) {
                Some(place) => place,
                None => return Some(false),
            }
        };
        let bit = 1 << place;
        let repeated = self.left_out & bit != 0;
        self.left_out |= bit;
        (!repeated).then_some(true)
    }

    /// Whether `stream_options` is null, or an object with at most
    /// `include_usage` in it, true, false or null.
    fn says_usage_alone(&self, member: Member) -> bool {
        const NAME: &[u8] = b"\x04\x0d\0\0\0include_usage";
        match self.out.get(member.value..member.end).unwrap_or_default() {
            [NULL] | [OBJECT, END] => true,
            [OBJECT, name @ .., NULL | TRUE | FALSE, END] => name == NAME,
            _ => false,
        }
    }

    fn name(&self, member: Member) -> &[u8] {
        self.out.get(member.name..member.value).unwrap_or_default()
    }

    /// Begins a text or number, its length still to come.
    fn begin(&mut self, tag: u8) -> usize {
        let start = self.out.len();
        self.out.extend_from_slice(&[tag, 0, 0, 0, 0]);
        start
    }

    /// Ends a text or number that began at `start`.
    fn close_text(&mut self, start: usize) {
        let length = self.out.len() - start - PREFIX;
        match u32::try_from(length) {
            Ok(short) if length <= LONG => {
                if let Some(place) = self.out.get_mut(start + 1..start + PREFIX) {
                    place.copy_from_slice(&short.to_le_bytes());
                }
            }
            // The length stays zero: the hash has it.
            _ => {
                let tag = self.out.get(start).copied().unwrap_or(TEXT);
                self.close(start, tag);
            }
        }
    }

    /// Ends a value that began at `start`: its hash takes its place if it is long.
    fn close(&mut self, start: usize, tag: u8) {
        let Some(form) = self.out.get(start..) else { return };
        if form.len() > LONG {
            let hash = blake3::hash(form);
            self.out.truncate(start);
            self.out.push(tag | HASHED);
            self.out.extend_from_slice(hash.as_bytes());
        }
    }
}
