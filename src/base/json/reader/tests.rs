use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::*;

/// Builds what it is told of.
#[derive(Default)]
struct Builder {
    open: Vec<(Value, Option<String>)>,
    done: Option<Value>,
    text: String,
    halves: usize,
}

impl Builder {
    fn value(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some((Value::Array(items), _)) => items.push(value),
            Some((Value::Object(members), name)) => {
                members.insert(name.take().unwrap(), value);
            }
            Some(_) => unreachable!(),
        }
    }
}

impl<'j> Sink<'j> for Builder {
    fn begin(&mut self, kind: Kind, _at: usize) {
        let empty = match kind {
            Kind::Object => Value::Object(Map::new()),
            Kind::List => Value::Array(Vec::new()),
        };
        self.open.push((empty, None));
    }

    fn end(&mut self, _after: usize) {
        let (value, _) = self.open.pop().unwrap();
        self.value(value);
    }

    fn begin_text(&mut self) {
        self.text.clear();
    }

    fn run(&mut self, characters: &'j [u8]) {
        assert!(!characters.is_empty());
        self.text.push_str(std::str::from_utf8(characters).unwrap());
    }

    fn escaped(&mut self, character: Option<char>) {
        self.halves += usize::from(character.is_none());
        self.text.extend(character);
    }

    fn text(&mut self, text: Text<'j>) {
        assert_eq!(text.escaped, text.raw.contains(&b'\\'));
        if text.is_name {
            self.open.last_mut().unwrap().1 = Some(self.text.clone());
        } else {
            self.value(Value::from(self.text.clone()));
        }
    }

    fn number(&mut self, spelling: &'j [u8], _at: usize) {
        self.value(serde_json::from_slice(spelling).unwrap());
    }

    fn word(&mut self, word: Word, _at: usize) {
        self.value(serde_json::from_str(word.spelling()).unwrap());
    }
}

fn built(json: &str) -> Value {
    let mut builder = Builder::default();
    read(json.as_bytes(), &mut builder).unwrap();
    builder.done.unwrap()
}

fn fault(json: &[u8]) -> (What, usize) {
    let Fault { what, at } = read(json, &mut ()).unwrap_err();
    (what, at)
}

#[test]
fn faults_say_what_is_wrong_and_where() {
    for (json, what, at) in [
        (&b""[..], What::EndsEarly, 0),
        (b" \n", What::EndsEarly, 2),
        (b"{", What::EndsEarly, 1),
        (b"[1,", What::EndsEarly, 3),
        (b"[1", What::EndsEarly, 2),
        (b"tru", What::EndsEarly, 3),
        (b"-", What::EndsEarly, 1),
        (b"1.", What::EndsEarly, 2),
        (b"\"a", What::EndsEarly, 2),
        (b"\"\\", What::EndsEarly, 2),
        (b"\"\\u00", What::EndsEarly, 5),
        (b"[1,]", What::Malformed, 3),
        (b"[1}", What::Malformed, 2),
        (b"{\"a\":1,}", What::Malformed, 7),
        (b"{\"a\" 1}", What::Malformed, 5),
        (b"{1:2}", What::Malformed, 1),
        (b"{} {}", What::Malformed, 3),
        (b"01", What::Malformed, 1),
        (b"+1", What::Malformed, 0),
        (b"1.e3", What::Malformed, 2),
        (b"1e", What::EndsEarly, 2),
        (b"nulL", What::Malformed, 0),
        (b"\"\\x\"", What::Malformed, 2),
        (b"\"\\u12g4\"", What::Malformed, 5),
        (b"\"a\nb\"", What::Malformed, 2),
        (b"\xEF\xBB\xBF{}", What::Malformed, 0),
        (b"[\"ab\xff\"]", What::NotUtf8, 4),
        (b"[\"\xed\xa0\x80\"]", What::NotUtf8, 2),
    ] {
        assert_eq!(fault(json), (what, at), "{}", json.escape_ascii());
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(read(nested(MAX_DEPTH).as_bytes(), &mut ()), Ok(()));
    assert_eq!(fault(nested(MAX_DEPTH + 1).as_bytes()), (What::TooDeep, MAX_DEPTH));
    let mixed = "{\"a\":[".repeat(MAX_DEPTH / 2) + &"]}".repeat(MAX_DEPTH / 2);
    assert_eq!(read(mixed.as_bytes(), &mut ()), Ok(()));
}

#[test]
fn halves_of_pairs_are_told_and_pairs_are_one_character() {
    assert_eq!(built(r#""\ud83d\udc4b\u00e9""#), Value::from("\u{1F44B}\u{e9}"));
    for (json, halves, rest) in [
        (r#""\ud83dx""#, 1, "x"),
        (r#""\udc4b\ud83d""#, 2, ""),
        (r#""\ud83d\u0041""#, 1, "A"),
        (r#""\ud83d\ud83d\udc4b""#, 1, "\u{1F44B}"),
        (r#""\ud83d\n""#, 1, "\n"),
    ] {
        let mut builder = Builder::default();
        read(json.as_bytes(), &mut builder).unwrap();
        assert_eq!((builder.halves, builder.text.as_str()), (halves, rest), "{json}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i16>().prop_map(|whole| Value::from(f64::from(whole))),
        "[a-c\"\\\\\n\u{e9}\u{1F44B}]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-d\"\u{e9}]{0,20}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn is_json(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes);
    text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

proptest! {
    #[test]
    fn what_is_told_is_what_the_text_says(value in values(), pretty in any::<bool>()) {
        let json = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        prop_assert_eq!(built(&json), value);
    }

    #[test]
    fn it_takes_what_another_parser_takes(bytes in prop::collection::vec(
        prop::sample::select(b"{}[]\",:\\u0d8 1-+.enulltrf\x1f\xc3\xa9".to_vec()), 0..24)) {
        prop_assert_eq!(read(&bytes, &mut ()).is_ok(), is_json(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn it_takes_damaged_texts_where_another_parser_does(
        value in values(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = value.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        prop_assert_eq!(read(&bytes, &mut ()).is_ok(), is_json(&bytes), "{}", bytes.escape_ascii());
        bytes.remove(at);
        prop_assert_eq!(read(&bytes, &mut ()).is_ok(), is_json(&bytes), "{}", bytes.escape_ascii());
        bytes.truncate(at);
        prop_assert_eq!(read(&bytes, &mut ()).is_ok(), is_json(&bytes), "{}", bytes.escape_ascii());
    }
}
