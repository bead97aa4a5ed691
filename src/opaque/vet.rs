//! What a form names, checked as it passes.
//!
//! Fields are checked as those of JSON are. Of files only those are read that a
//! provider runs, line by line, as requests: a batch's. Forms may say what a file
//! is for behind the file; what is wrong with it is then said there, and before
//! the form's end, without which a provider has no form.

use std::borrow::Cow;

use crate::base::json::Members;
use crate::opaque::form::{Form, Listener, Part};
use crate::opaque::list::is_json;
use crate::opaque::roots::decode;
use crate::opaque::skim::{Skim, TooLarge};
use crate::opaque::{LARGEST_JSON, Place, Tenant};
use crate::refusal::{Code, Refusal};

/// The field that says what a file is for.
const PURPOSE: &str = "purpose";
/// The field that says in which letters the others are (RFC 7578 §4.6).
const CHARSET: &str = "_charset_";
/// What files are for that are only read: nothing is looked up by what they name.
const READ_ONLY: [&str; 9] = [
    "assistants",
    "audio",
    "eval",
    "evals",
    "file-extract",
    "fine-tune",
    "ocr",
    "user_data",
    "vision",
];
/// What may stand before the first line of a text in UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// A form on its way to a provider.
pub struct Vet<'t> {
    form: Form,
    parts: Parts<'t>,
}

struct Parts<'t> {
    tenant: Tenant<'t>,
    /// Whether it makes a file.
    makes_file: bool,
    /// Whether it begins an upload in parts.
    begins_upload: bool,
    /// Whether files in it are read as its fields are.
    files_are_fields: bool,
    /// What it says that its file is for.
    purpose: Option<Vec<u8>>,
    part: State,
    /// What is wrong with its file, if a provider runs it.
    fault: Option<Refusal>,
}

/// The part that is passing.
enum State {
    /// It is not read.
    Unread,
    /// A field.
    Field { name: String, value: Vec<u8> },
    /// A file that may be one of lines.
    Lines(Lines),
}

/// A file of which each line is JSON.
#[derive(Default)]
struct Lines {
    skim: Skim,
    /// The lines that have passed.
    passed: u64,
    /// Whether the last one ended with a carriage return, and nothing came since.
    returned: bool,
}

impl Lines {
    /// Reads the file on.
    fn read(&mut self, mut bytes: &[u8], tenant: &Tenant<'_>) -> Result<(), Refusal> {
        loop {
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            self.skim.take(line).map_err(|TooLarge| {
                let most = LARGEST_JSON / 1024 / 1024;
                let without = "without its long strings";
                self.fault(Code::InvalidValue, format!("is over {most} MiB, even {without}."))
            })?;
            self.returned &= line.is_empty();
            let Some(end) = end else { return Ok(()) };
            let ends = bytes.get(end) == Some(&b'\n');
            // The rest of an end of two bytes.
            if !(ends && self.returned) {
                self.end(tenant)?;
            }
            self.returned = !ends;
            bytes = bytes.get(end + 1..).unwrap_or_default();
        }
    }

    /// Checks the line that is over.
    fn end(&mut self, tenant: &Tenant<'_>) -> Result<(), Refusal> {
        let first = self.passed == 0;
        let checked = self.skim.end(|line| {
            let line = line.strip_prefix(MARK).filter(|_| first).unwrap_or(line);
            if line.trim_ascii().is_empty() {
                return Ok(());
            }
            // Text in other letters than UTF-8, or packed, would hide names.
            if is_json(line) { tenant.check_body(line).map_err(Some) } else { Err(None) }
        });
        checked.map_err(|refusal| match refusal {
            None => self.fault(Code::InvalidJson, "is not JSON."),
            Some(Refusal { code: Code::NotFound, .. }) => {
                self.fault(Code::NotFound, "names something that does not exist.")
            }
            Some(other) => other,
        })?;
        self.passed += 1;
        Ok(())
    }

    fn fault(&self, code: Code, what: impl std::fmt::Display) -> Refusal {
        let line = self.passed + 1;
        Refusal::new(code, format!("Line {line} of the file {what}")).param("file")
    }
}

impl<'t> Vet<'t> {
    /// The form for `place` whose `content-type` is `kind`; `tenant` sends it.
    ///
    /// # Errors
    /// As [`Form::of`].
    pub fn new(tenant: Tenant<'t>, place: &Place, kind: &[u8]) -> Result<Self, Refusal> {
        let new = place.ids.is_empty();
        let parts = Parts {
            tenant,
            makes_file: new && place.root.name == "files",
            begins_upload: new && place.root.name == "uploads",
            files_are_fields: place.root.name == "realtime",
            purpose: None,
            part: State::Unread,
            fault: None,
        };
        Ok(Self { form: Form::of(kind)?, parts })
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// As [`Tenant::check_body`] (in a file that is run, also what a line of it names), and 400 `invalid_value` if the form cannot be
    /// read; none of these bytes may then be passed on.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.form.read(bytes, &mut self.parts)?;
        if self.form.is_over() { self.parts.judge(true) } else { Ok(()) }
    }

    /// Checks that the form has ended.
    ///
    /// # Errors
    /// 400 `invalid_value`; the form must then not be ended.
    pub fn end(&self) -> Result<(), Refusal> {
        if self.form.is_over() {
            return Ok(());
        }
        let message = "The form ends in the middle.";
        Err(Refusal::new(Code::InvalidValue, message).param("body"))
    }
}

impl Parts<'_> {
    /// Whether a provider may run the form's file, as far as is known.
    fn runs(&self) -> bool {
        self.purpose.as_deref().is_none_or(runs)
    }

    /// Refuses the form if its file is run and something is wrong with it. What it
    /// is for may still be said, unless the form is `over`.
    fn judge(&mut self, over: bool) -> Result<(), Refusal> {
        let known = over || self.purpose.is_some();
        let runs = self.runs();
        self.fault.take_if(|_| known && runs).map_or(Ok(()), Err)
    }

    /// Reads a file of lines; what is wrong with it is kept until it is known what
    /// the file is for.
    fn lines(
        &mut self,
        read: impl FnOnce(&mut Lines, &Tenant<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let State::Lines(lines) = &mut self.part else { return Ok(()) };
        if let Err(refusal) = read(lines, &self.tenant) {
            self.fault = Some(refusal);
            self.part = State::Unread;
        }
        self.judge(false)
    }

    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        // In other letters it would be another value.
        let plain = std::str::from_utf8(value).is_ok_and(|text| !text.contains('\0'));
        if !plain || (name == CHARSET && !value.eq_ignore_ascii_case(b"utf-8")) {
            let message = "The fields of a form must be texts in UTF-8.";
            return Err(Refusal::new(Code::InvalidValue, message).param(name.to_owned()));
        }
        if name == PURPOSE {
            let value = value.trim_ascii();
            if self.purpose.replace(value.to_vec()).is_some() {
                let message = "The form says more than once what the file is for.";
                return Err(Refusal::new(Code::InvalidValue, message).param(PURPOSE));
            }
            if self.begins_upload {
                check_upload(value)?;
            }
            return self.judge(false);
        }
        self.tenant.check_field(name, value)
    }
}

impl Listener for Parts<'_> {
    fn begin(&mut self, part: Part<'_>) -> Result<(), Refusal> {
        let asked = self.makes_file || self.begins_upload;
        let said_oddly = is_purpose(part.name) && (part.file || part.name != PURPOSE);
        if asked && said_oddly {
            return Err(oddly());
        }
        if part.file && self.files_are_fields && !part.ascii {
            let message = "The parts of this form must be in UTF-8.";
            return Err(Refusal::new(Code::InvalidValue, message).param(part.name.to_owned()));
        }
        self.part = match part {
            Part { file: true, .. } if self.makes_file && self.runs() && self.fault.is_none() => {
                State::Lines(Lines::default())
            }
            Part { file: true, .. } if !self.files_are_fields => State::Unread,
            Part { name, .. } => State::Field { name: name.to_owned(), value: Vec::new() },
        };
        Ok(())
    }

    fn piece(&mut self, content: &[u8]) -> Result<(), Refusal> {
        match &mut self.part {
            State::Unread => Ok(()),
            State::Lines(_) => self.lines(|lines, tenant| lines.read(content, tenant)),
            State::Field { name, value } => {
                if value.len() + content.len() > LARGEST_JSON {
                    let message = "A field of the form is too large: send it as a file.";
                    let refusal = Refusal::new(Code::RequestTooLarge, message);
                    return Err(refusal.param(std::mem::take(name)));
                }
                value.extend_from_slice(content);
                Ok(())
            }
        }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.lines(Lines::end)?;
        match std::mem::replace(&mut self.part, State::Unread) {
            State::Field { name, value } => self.field(&name, &value),
            State::Unread | State::Lines(_) => Ok(()),
        }
    }
}

/// Checks that the query of a request that makes a file does not say what it is for:
/// some servers take that before what the form says.
///
/// # Errors
/// 400 `invalid_value`.
pub fn check_query(query: Option<&str>) -> Result<(), Refusal> {
    let says = |field: &str| {
        let name = field.split('=').next().unwrap_or_default();
        decode(name).is_none_or(|name| is_purpose(&name))
    };
    if query.unwrap_or_default().split('&').any(says) { Err(oddly()) } else { Ok(()) }
}

/// Whether a server may take the field `name` for [`PURPOSE`], if it ignores case or
/// spells lists with brackets.
fn is_purpose(name: &str) -> bool {
    name.split('[').next().unwrap_or_default().trim().eq_ignore_ascii_case(PURPOSE)
}

fn oddly() -> Refusal {
    let message = "What a file is for must be said in the field 'purpose' of the body.";
    Refusal::new(Code::InvalidValue, message).param(PURPOSE)
}

/// Whether a provider may run a file that is for `purpose`.
fn runs(purpose: &[u8]) -> bool {
    !READ_ONLY.iter().any(|it| it.as_bytes() == purpose)
}

/// Checks what the upload in parts is for that `json` begins.
///
/// # Errors
/// As `check_upload`.
pub fn check_begun(json: &[u8]) -> Result<(), Refusal> {
    Members::of(json).filter(|member| is_purpose(&member.name(json))).try_for_each(|member| {
        check_upload(
            serde_json::from_slice::<Cow<'_, str>>(member.value(json))
                .unwrap_or_default()
                .as_bytes(),
        )
    })
}

/// Checks what an upload in parts is for. Lines may go on from part to part, which
/// come in any order, so what is run is not taken in parts.
///
/// # Errors
/// 400 `invalid_value`.
fn check_upload(purpose: &[u8]) -> Result<(), Refusal> {
    if !runs(purpose) {
        return Ok(());
    }
    let message = "A file for this purpose cannot be uploaded in parts: use POST /v1/files.";
    Err(Refusal::new(Code::InvalidValue, message).param(PURPOSE))
}
