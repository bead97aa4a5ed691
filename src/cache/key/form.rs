//! The canonical form of a body, and its hash; see the parent module.

use blake3::Hasher;

use crate::base::json::reader::{Kind, Sink, Text, Word};
use crate::cache::key::{BodyHash, Fields, WITHOUT_EFFECT};

/// Longest canonical form that stands for itself, in bytes; one chunk of BLAKE3.
pub(super) const LONG: usize = 1024;
/// Bytes before the content of a text or number: its tag and its length.
pub(super) const PREFIX: usize = 5;
/// How much of a long text is hashed at a time: enough for BLAKE3 to take chunks
/// side by side, and little enough to stay in the nearest cache.
const PIECE: usize = 16 * LONG;

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

/// An object or a list that is open.
struct Open {
    kind: Kind,
    /// Where it begins in the form.
    start: usize,
    /// How many members of others there were before it.
    first: usize,
    /// Whether its members came in the order of their names.
    ascending: bool,
    /// Where the name of the member begins whose value comes next, and that value.
    name: usize,
    value: usize,
}

/// The canonical form of a body in the making, while the body is read.
pub struct Form {
    fields: Fields,
    out: Vec<u8>,
    open: Vec<Open>,
    /// Members of the objects that are open, the innermost last.
    members: Vec<Member>,
    sorted: Vec<u8>,
    /// Where the text that is read begins in the form.
    text: usize,
    /// The hash of what came before in that text, if it is long.
    long: Option<Box<Hasher>>,
    /// Which of the fields left out have come, to find repeated ones.
    left_out: u8,
    /// Whether the body has no one meaning.
    is_ambiguous: bool,
}

impl Form {
    /// The form of a body of `length` bytes, which is to be read.
    pub fn new(length: usize, fields: Fields) -> Self {
        Self {
            fields,
            out: Vec::with_capacity(length.min(PIECE) + LONG),
            open: Vec::with_capacity(8),
            members: Vec::with_capacity(16),
            sorted: Vec::new(),
            text: 0,
            long: None,
            left_out: 0,
            is_ambiguous: false,
        }
    }

    /// The hash of the form, once the body was read without a fault; `None` if it is
    /// no object or has no one meaning.
    pub fn finish(self) -> Option<BodyHash> {
        let is_object = matches!(self.out.first(), Some(tag) if tag & !HASHED == OBJECT);
        let has_meaning = is_object && !self.is_ambiguous;
        has_meaning.then(|| BodyHash(*blake3::hash(&self.out).as_bytes()))
    }

    /// Takes what has just been formed as an element or as the value of a member.
    fn formed(&mut self) {
        let depth = self.open.len();
        let Some(open) = self.open.last_mut().filter(|open| open.kind == Kind::Object) else {
            return;
        };
        let member = Member { name: open.name, value: open.value, end: self.out.len() };
        let is_top = depth == 1 && self.fields == Fields::WithEffect;
        if is_top && self.leave_out(member) {
            self.out.truncate(member.name);
            return;
        }
        let Some(open) = self.open.last_mut() else { return };
        let name = |member: &Member| self.out.get(member.name..member.value);
        let before = self.members.get(open.first..).and_then(<[Member]>::last);
        open.ascending &= before.is_none_or(|before| name(before) < name(&member));
        self.members.push(member);
    }

    /// Orders the members from `first` on by name.
    fn sort(&mut self, first: usize) {
        let out = &self.out;
        let name = |member: &Member| out.get(member.name..member.value).unwrap_or_default();
        let Some(members) = self.members.get_mut(first..) else { return };
        let Some(start) = members.first().map(|member| member.name) else { return };
        members.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        let mut pairs = members.iter().zip(members.iter().skip(1));
        self.is_ambiguous |= pairs.any(|(a, b)| name(a) == name(b));
        self.sorted.clear();
        for member in members.iter() {
            self.sorted.extend_from_slice(out.get(member.name..member.end).unwrap_or_default());
        }
        self.out.truncate(start);
        self.out.extend_from_slice(&self.sorted);
    }

    /// Whether a member of the body is no part of the form.
    fn leave_out(&mut self, member: Member) -> bool {
        let name = self.out.get(member.name + PREFIX..member.value).unwrap_or_default();
        let place = if name == b"stream_options" {
            if !self.says_usage_alone(member) {
                return false;
            }
            WITHOUT_EFFECT.len()
        } else {
            match WITHOUT_EFFECT.iter().position(|field| field.as_bytes() == name) {
                Some(place) => place,
                None => return false,
            }
        };
        let bit = 1 << place;
        self.is_ambiguous |= self.left_out & bit != 0;
        self.left_out |= bit;
        true
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

    /// Puts `characters` into the text that is read; what makes it long is hashed.
    fn put(&mut self, mut characters: &[u8]) {
        loop {
            let room = PIECE.saturating_sub(self.out.len() - self.text);
            let Some((fitting, rest)) = characters.split_at_checked(room) else {
                return self.out.extend_from_slice(characters);
            };
            self.out.extend_from_slice(fitting);
            let piece = self.out.get(self.text..).unwrap_or_default();
            self.long.get_or_insert_default().update(piece);
            self.out.truncate(self.text);
            characters = rest;
        }
    }

    /// Ends a text or number that began at `start` with its tag and no length yet.
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
            self.replace(start, tag, &hash);
        }
    }

    /// Puts the hash of a value in its place.
    fn replace(&mut self, start: usize, tag: u8, hash: &blake3::Hash) {
        self.out.truncate(start);
        self.out.push(tag | HASHED);
        self.out.extend_from_slice(hash.as_bytes());
    }
}

impl Sink<'_> for Form {
    fn begin(&mut self, kind: Kind, _at: usize) {
        let (start, first) = (self.out.len(), self.members.len());
        self.open.push(Open { kind, start, first, ascending: true, name: 0, value: 0 });
        self.out.push(tag(kind));
    }

    fn end(&mut self, _after: usize) {
        let Some(open) = self.open.pop() else { return };
        if !open.ascending {
            self.sort(open.first);
        }
        self.members.truncate(open.first);
        self.out.push(END);
        self.close(open.start, tag(open.kind));
        self.formed();
    }

    fn begin_text(&mut self) {
        self.text = self.out.len();
        self.out.extend_from_slice(&[TEXT, 0, 0, 0, 0]);
    }

    fn run(&mut self, characters: &[u8]) {
        self.put(characters);
    }

    fn escaped(&mut self, character: Option<char>) {
        match character {
            Some(character) => self.put(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.is_ambiguous = true,
        }
    }

    fn text(&mut self, text: Text<'_>) {
        match self.long.take() {
            Some(mut hasher) => {
                hasher.update(self.out.get(self.text..).unwrap_or_default());
                self.replace(self.text, TEXT, &hasher.finalize());
            }
            None => self.close_text(self.text),
        }
        if !text.is_name {
            return self.formed();
        }
        let (name, value) = (self.text, self.out.len());
        if let Some(open) = self.open.last_mut() {
            (open.name, open.value) = (name, value);
        }
    }

    fn number(&mut self, spelling: &[u8], _at: usize) {
        let start = self.out.len();
        self.out.extend_from_slice(&[NUMBER, 0, 0, 0, 0]);
        self.out.extend_from_slice(spelling);
        self.close_text(start);
        self.formed();
    }

    fn word(&mut self, word: Word, _at: usize) {
        self.out.push(match word {
            Word::Null => NULL,
            Word::True => TRUE,
            Word::False => FALSE,
        });
        self.formed();
    }
}

const fn tag(kind: Kind) -> u8 {
    match kind {
        Kind::Object => OBJECT,
        Kind::List => ARRAY,
    }
}
