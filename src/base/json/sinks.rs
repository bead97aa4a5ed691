//! Nobody, one that may not and two that want to know of a text.

use super::reader::{Kind, Sink, Text, Word};

impl<'j> Sink<'j> for () {
    fn text(&mut self, _text: Text<'j>) {}
}

impl<'j, S: Sink<'j>> Sink<'j> for Option<S> {
    fn begin(&mut self, kind: Kind, at: usize) {
        if let Some(sink) = self {
            sink.begin(kind, at);
        }
    }

    fn end(&mut self, after: usize) {
        if let Some(sink) = self {
            sink.end(after);
        }
    }

    fn begin_text(&mut self) {
        if let Some(sink) = self {
            sink.begin_text();
        }
    }

    fn run(&mut self, characters: &'j [u8]) {
        if let Some(sink) = self {
            sink.run(characters);
        }
    }

    fn escaped(&mut self, character: Option<char>) {
        if let Some(sink) = self {
            sink.escaped(character);
        }
    }

    fn text(&mut self, text: Text<'j>) {
        if let Some(sink) = self {
            sink.text(text);
        }
    }

    fn number(&mut self, spelling: &'j [u8], at: usize) {
        if let Some(sink) = self {
            sink.number(spelling, at);
        }
    }

    fn word(&mut self, word: Word, at: usize) {
        if let Some(sink) = self {
            sink.word(word, at);
        }
    }
}

impl<'j, A: Sink<'j>, B: Sink<'j>> Sink<'j> for (A, B) {
    fn begin(&mut self, kind: Kind, at: usize) {
        self.0.begin(kind, at);
        self.1.begin(kind, at);
    }

    fn end(&mut self, after: usize) {
        self.0.end(after);
        self.1.end(after);
    }

    fn begin_text(&mut self) {
        self.0.begin_text();
        self.1.begin_text();
    }

    fn run(&mut self, characters: &'j [u8]) {
        self.0.run(characters);
        self.1.run(characters);
    }

    fn escaped(&mut self, character: Option<char>) {
        self.0.escaped(character);
        self.1.escaped(character);
    }

    fn text(&mut self, text: Text<'j>) {
        self.0.text(text);
        self.1.text(text);
    }

    fn number(&mut self, spelling: &'j [u8], at: usize) {
        self.0.number(spelling, at);
        self.1.number(spelling, at);
    }

    fn word(&mut self, word: Word, at: usize) {
        self.0.word(word, at);
        self.1.word(word, at);
    }
}
