//! Forms (`multipart/form-data`, RFC 7578), read as their bytes pass.
//!
//! What one reader takes for the end of a part another may take for its content.
//! So only the plain way of writing a form is read: whatever two readers could
//! read otherwise is malformed.

use memchr::memmem;

use crate::refusal::{Code, Refusal};

/// Longest head of a part, in bytes.
const LONGEST_HEAD: usize = 8 * 1024;
/// Longest boundary, in bytes (RFC 2046 §5.1.1).
const LONGEST_BOUNDARY: usize = 70;
/// Ends a line of a form.
const LINE: &[u8] = b"\r\n";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Hears the parts of a form.
pub trait Listener {
    /// A part begins.
    ///
    /// # Errors
    /// Why the form is not read on.
    fn begin(&mut self, part: Part<'_>) -> Result<(), Refusal>;

    /// A piece of the part's content.
    ///
    /// # Errors
    /// As [`Listener::begin`].
    fn piece(&mut self, content: &[u8]) -> Result<(), Refusal>;

    /// The part ends.
    ///
    /// # Errors
    /// As [`Listener::begin`].
    fn end(&mut self) -> Result<(), Refusal>;
}

/// What a part says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'p> {
    /// The field's name.
    pub name: &'p str,
    /// Whether it is a file.
    pub file: bool,
    /// Whether a text in it is in letters that have ASCII's among them, as far as it
    /// says.
    pub ascii: bool,
}

/// A form that is passing.
#[derive(Debug)]
pub struct Form {
    /// `--` and the boundary.
    delimiter: Vec<u8>,
    state: State,
    /// What came and may be the beginning of a delimiter, or of a head.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In what stands before a delimiter: a part's content, or nothing yet.
    Content { part: bool },
    /// Behind a delimiter.
    Delimited,
    /// In the head of a part.
    Head,
    /// Behind the last delimiter.
    Over,
}

impl Form {
    /// The form whose `content-type` is `value`.
    ///
    /// # Errors
    /// 415 `unsupported_media_type` if it is no form, 400 `invalid_value` if it does
    /// not say plainly how its parts are told apart.
    pub fn of(value: &[u8]) -> Result<Self, Refusal> {
        let value = std::str::from_utf8(value).map_err(|_| malformed())?;
        let mut parts = value.split(';').map(str::trim);
        if !parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data")) {
            let message = "A body of parts must be a form (multipart/form-data).";
            return Err(Refusal::new(Code::UnsupportedMediaType, message));
        }
        let mut boundary = None;
        for (name, value) in parts.filter_map(|it| it.split_once('=')) {
            let value = unquoted(value.trim());
            match &*name.trim().to_ascii_lowercase() {
                "boundary" if boundary.is_none() => boundary = Some(value),
                "charset" if value.is_some_and(|it| it.eq_ignore_ascii_case("utf-8")) => {}
                _ => return Err(malformed()),
            }
        }
        // Some readers end it at a comma or a bracket.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'+_-.=".contains(&byte);
        let boundary = boundary
            .flatten()
            .filter(|it| (1..=LONGEST_BOUNDARY).contains(&it.len()) && it.bytes().all(plain));
        let boundary = boundary.ok_or_else(malformed)?;
        Ok(Self {
            delimiter: [b"--", boundary.as_bytes()].concat(),
            state: State::Content { part: false },
            // A delimiter begins a line, and so does the form.
            held: LINE.to_vec(),
        })
    }

    /// Reads the next bytes.
    ///
    /// # Errors
    /// 400 `invalid_value` if the form is malformed, and what `to` says. None of
    /// these bytes should then be passed on.
    pub fn read(&mut self, bytes: &[u8], to: &mut impl Listener) -> Result<(), Refusal> {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut rest: &[u8] = &held;
        loop {
            let (read, more) = self.step(rest, to)?;
            rest = rest.get(read..).unwrap_or_default();
            if !more {
                break;
            }
        }
        let read = held.len() - rest.len();
        held.drain(..read);
        self.held = held;
        Ok(())
    }

    /// Whether the whole form has passed.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Reads on in `bytes`: how many of them, and whether more can be read before
    /// others come.
    fn step(&mut self, bytes: &[u8], to: &mut impl Listener) -> Result<(usize, bool), Refusal> {
        match self.state {
            State::Content { part } => self.content(bytes, part, to),
            State::Delimited => {
                let Some(mark) = bytes.first_chunk::<2>() else { return Ok((0, false)) };
                self.state = match mark {
                    b"\r\n" => State::Head,
                    b"--" => State::Over,
                    _ => return Err(malformed()),
                };
                Ok((mark.len(), true))
            }
            State::Head => {
                let Some(end) = memmem::find(bytes, END_OF_HEAD) else {
                    return if bytes.len() > LONGEST_HEAD {
                        Err(malformed())
                    } else {
                        Ok((0, false))
                    };
                };
                let head = bytes.get(..end).unwrap_or_default();
                to.begin(Part::of(head).ok_or_else(malformed)?)?;
                self.state = State::Content { part: true };
                Ok((end + END_OF_HEAD.len(), true))
            }
            State::Over if LINE.starts_with(bytes) => Ok((0, false)),
            State::Over => Err(malformed()),
        }
    }

    fn content(
        &mut self,
        bytes: &[u8],
        part: bool,
        to: &mut impl Listener,
    ) -> Result<(usize, bool), Refusal> {
        let found = memmem::find(bytes, &self.delimiter);
        let end = match found {
            // Some end a part at a delimiter that does not begin a line.
            Some(at) => {
                let line = at.checked_sub(LINE.len()).ok_or_else(malformed)?;
                if bytes.get(line..at) != Some(LINE) {
                    return Err(malformed());
                }
                line
            }
            None => bytes.len().saturating_sub(LINE.len() + self.delimiter.len() - 1),
        };
        let content = bytes.get(..end).unwrap_or_default();
        match part {
            true if !content.is_empty() => to.piece(content)?,
            // Nothing stands before the first part.
            false if !content.is_empty() => return Err(malformed()),
            _ => {}
        }
        if found.is_none() {
            return Ok((end, false));
        }
        if part {
            to.end()?;
        }
        self.state = State::Delimited;
        Ok((end + LINE.len() + self.delimiter.len(), true))
    }
}

impl<'p> Part<'p> {
    /// What the head of a part says, if it says it plainly.
    fn of(head: &'p [u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let (mut part, mut ascii) = (None, None);
        for line in head.split("\r\n") {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            if line.contains(|c: char| c.is_control() && c != '\t') {
                return None;
            }
            match &*name.to_ascii_lowercase() {
                "content-disposition" if part.is_none() => part = Some(Self::disposed(value)?),
                "content-type" if ascii.is_none() => ascii = Some(is_ascii(value)?),
                "content-transfer-encoding" => {
                    let plain = ["binary", "8bit", "7bit"];
                    plain.iter().find(|it| it.eq_ignore_ascii_case(value))?;
                }
                "content-length" | "content-id" | "mime-version" => {}
                _ => return None,
            }
        }
        let part = Self { ascii: ascii.unwrap_or(true), ..part? };
        (part.file || part.ascii).then_some(part)
    }

    /// What `content-disposition` says.
    fn disposed(value: &'p str) -> Option<Self> {
        let (kind, mut rest) = value.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return None;
        }
        let (mut name, mut file) = (None, false);
        loop {
            let (field, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at_checked(after.find(';').unwrap_or(after.len()))?,
            };
            match field.trim_start() {
                "name" if name.is_none() => name = Some(value),
                // Without a name some readers take it for a field.
                "filename" if !file && !value.is_empty() => file = true,
                "filename*" if file => {}
                _ => return None,
            }
            // Readers differ in where such a value ends.
            if value.ends_with('\\') || (value.contains(';') && value.contains('=')) {
                return None;
            }
            match after.trim_start() {
                "" => break,
                more => rest = more.strip_prefix(';')?,
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
        let name = name.filter(|name| !name.is_empty() && name.chars().all(plain))?;
        Some(Self { name, file, ascii: true })
    }
}

/// Whether a text of this type is in letters that have ASCII's among them; `None` if
/// that is not said plainly, or if the type is one of parts itself.
fn is_ascii(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let (essence, parameters) = value.split_once(';').unwrap_or((&value, ""));
    if ["multipart/", "message/"].iter().any(|it| essence.trim().starts_with(it)) {
        return None;
    }
    let mut charsets = parameters
        .split(';')
        .filter_map(|it| it.split_once('='))
        .filter(|(name, _)| name.trim().starts_with("charset"));
    let Some((_, charset)) = charsets.next() else { return Some(true) };
    let charset = unquoted(charset.trim()).filter(|_| charsets.next().is_none())?;
    let family = ["iso-8859-", "windows-125"].iter().any(|it| charset.starts_with(it));
    Some(family || ["utf-8", "us-ascii"].contains(&charset))
}

/// The value of a parameter without its quotes; `None` if it has others.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

fn malformed() -> Refusal {
    let message = "The form is malformed, or written in a way that can be read differently.";
    Refusal::new(Code::InvalidValue, message).param("body")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Vec<(String, bool, Vec<u8>)>);

    impl Listener for Heard {
        fn begin(&mut self, part: Part<'_>) -> Result<(), Refusal> {
            self.0.push((part.name.to_owned(), part.file, Vec::new()));
            Ok(())
        }

        fn piece(&mut self, content: &[u8]) -> Result<(), Refusal> {
            self.0.last_mut().unwrap().2.extend_from_slice(content);
            Ok(())
        }

        fn end(&mut self) -> Result<(), Refusal> {
            self.0.last_mut().unwrap().2.push(b'.');
            Ok(())
        }
    }

    fn read(kind: &str, body: &str, piece: usize) -> Option<Vec<(String, bool, String)>> {
        let (mut form, mut heard) = (Form::of(kind.as_bytes()).ok()?, Heard::default());
        for piece in body.as_bytes().chunks(piece) {
            form.read(piece, &mut heard).ok()?;
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let parts = heard.0.into_iter().map(|(name, file, content)| (name, file, text(content)));
        form.is_over().then(|| parts.collect())
    }

    const KIND: &str = "multipart/form-data; boundary=XX";

    #[test]
    fn parts_are_told_apart_however_they_come() {
        let body = "--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--XX\r\n\
            content-type: text/plain; charset=utf-16\r\ncontent-disposition: form-data; name=file; \
            filename=\"a;b.jsonl\"\r\n\r\n\r\n--X\n-\r\n-\r\n\r\n--XX\r\ncontent-disposition: \
            form-data; name=\"file_ids[]\"\r\n\r\n\r\n--XX--\r\n";
        let wanted = [
            ("purpose", false, "batch."),
            ("file", true, "\r\n--X\n-\r\n-\r\n."),
            ("file_ids[]", false, "."),
        ];
        let wanted = wanted.map(|(name, file, text)| (name.to_owned(), file, text.to_owned()));
        for kind in [KIND, "Multipart/Form-Data;charset=utf-8; boundary=\"XX\""] {
            for piece in 1..body.len() {
                assert_eq!(read(kind, body, piece).as_deref(), Some(&wanted[..]), "{piece}");
            }
        }
    }

    #[test]
    fn what_two_readers_could_read_otherwise_is_malformed() {
        let plain = "--XX\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nx\r\n--XX--\r\n";
        assert!(read(KIND, plain, 9).is_some());
        for (from, to) in [
            ("--XX--\r\n", ""),
            ("--XX--\r\n", "--XX--\r\nmore"),
            ("--XX--\r\n", "--XX --\r\n"),
            ("x\r\n", "x\n--XX\r\n"),
            ("x\r\n", "x--XX\r\n"),
            ("x\r\n", "--XX\r\n"),
            ("--XX\r\n", "before\r\n--XX\r\n"),
            ("\r\n\r\n", "\r\n"),
            ("\r\n\r\n", "\n\n"),
            ("form-data; ", "attachment; "),
            ("name=\"a\"", "name=\"a\"; name=\"b\""),
            ("name=\"a\"", "name*=utf-8''a"),
            ("name=\"a\"", "name=\"%61\""),
            ("name=\"a\"", "name=\"a\"; filename=\"x\\\"; name=\\\"b\""),
            ("name=\"a\"", "name=\"a\"; filename=\"x; name=b;\""),
            ("name=\"a\"", "name=\"a\"; filename=\"\""),
            ("name=\"a\"", "name=\"a\"; filename*=utf-8''x"),
            ("name=\"a\"", "name=\" a\""),
            ("name=\"a\"", "name=\"a\"\r\n ; filename=b"),
            ("name=\"a\"", "name=\"a\"\r\ncontent-disposition: form-data; name=b"),
            ("name=\"a\"", "name=\"a\"\r\ncontent-transfer-encoding: base64"),
            ("name=\"a\"", "name=\"a\"\r\ncontent-encoding: gzip"),
            ("name=\"a\"", "name=\"a\"\r\ncontent-type: text/plain; charset=utf-16"),
            ("name=\"a\"", "name=\"a\"\r\ncontent-type: text/plain; charset=utf-16; x=utf-8"),
            ("name=\"a\"", "name=\"a\"\r\ncontent-type: text/plain; charset=utf-8; charset=utf-7"),
            ("name=\"a\"", "name=\"a\"\r\ncontent-type: multipart/mixed; boundary=Y"),
            ("name=\"a\"", "NAME=\"a\""),
            ("name=\"a\"", "name =\"a\""),
        ] {
            let odd = plain.replacen(from, to, 1);
            assert_ne!(odd, plain);
            for piece in [1, 1_000] {
                assert_eq!(read(KIND, &odd, piece), None, "{odd}");
            }
        }
        for kind in [
            "multipart/mixed; boundary=XX",
            "multipart/form-data",
            "multipart/form-data; boundary=XX; boundary=YY",
            "multipart/form-data; boundary=XX; charset=utf-16",
            "multipart/form-data; boundary=\"XX",
            "multipart/form-data; boundary=XX,YY",
            "multipart/form-data; boundary=X%58",
            "multipart/form-data; boundary*=utf-8''XX",
        ] {
            assert_eq!(read(kind, plain, 9), None, "{kind}");
        }
    }

    #[test]
    fn a_head_is_bounded() {
        let mut form = Form::of(KIND.as_bytes()).unwrap();
        let body = format!("--XX\r\ncontent-id: {}", "x".repeat(LONGEST_HEAD));
        assert!(form.read(body.as_bytes(), &mut Heard::default()).is_err());
    }
}
