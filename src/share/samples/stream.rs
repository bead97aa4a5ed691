//! A stream with several choices, dealt out event by event.

use std::ops::Range;

use bytes::Bytes;

use super::choices::Parted;
use crate::base::sse::{self, Piece, Splitter};
use crate::ledger::record::Tokens;

/// Largest event that is dealt out, in bytes.
const LARGEST_EVENT: usize = 16 * 1024 * 1024;

/// Events before the choices that are held for those who have had none of their own.
const MOST_OPENING: usize = 16;

/// Deals the events of a stream out to those whose choices are in it.
///
/// What is of no choice goes to all who have had an event of their own: comments,
/// errors. What comes before the choices waits for the first event of each. Usage
/// and the end are kept for [`Self::last`].
#[derive(Debug)]
pub struct Dealer {
    splitter: Splitter,
    /// For each caller, whether it has had an event of its own.
    begun: Vec<bool>,
    /// What came before the choices.
    opening: Vec<Parted>,
    usage: Option<Parted>,
    done: Bytes,
}

impl Dealer {
    /// For so many callers.
    pub fn new(callers: usize) -> Self {
        Self {
            splitter: Splitter::new(LARGEST_EVENT),
            begun: vec![false; callers],
            opening: Vec::new(),
            usage: None,
            done: Bytes::new(),
        }
    }

    /// Takes the next bytes of the stream, and gives each caller its events in order.
    pub fn take(&mut self, bytes: Bytes, mut each: impl FnMut(usize, Bytes)) {
        self.splitter.push(bytes);
        while let Some(piece) = self.splitter.next_piece() {
            if let Piece::Event(event) = piece {
                self.event(event, &mut each);
            }
        }
    }

    /// Takes what the stream ended with, short of the blank line after it.
    pub fn finish(&mut self, mut each: impl FnMut(usize, Bytes)) {
        if let Some(piece) = self.splitter.finish() {
            let whole = [&*piece.into_bytes(), b"\n\n"].concat();
            if sse::data(&whole).is_some_and(|data| is_done(&data) || is_json(&data)) {
                self.event(whole.into(), &mut each);
            }
        }
    }

    /// The last events of a whole stream for a caller: its usage, if it wants that of
    /// `tokens` and the provider has said any, and the end as it came.
    pub fn last(&self, caller: usize, tokens: Option<&Tokens>) -> Bytes {
        match (&self.usage, tokens) {
            (Some(usage), Some(tokens)) => {
                [usage.usage_alone(caller, tokens), self.done.clone()].concat().into()
            }
            _ => self.done.clone(),
        }
    }

    fn event(&mut self, event: Bytes, each: &mut impl FnMut(usize, Bytes)) {
        let Some(data) = sse::data(&event) else { return self.to_begun(each, |_| event.clone()) };
        if is_done(&data) {
            self.done = event;
            return;
        }
        let (event, json) = on_one_line(&event, &data);
        let Some(parted) = Parted::read(&event, json) else {
            return self.to_begun(each, |_| event.clone());
        };
        let mut numbers: Vec<usize> = parted.numbers().collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in &numbers {
            let Some(begun) = self.begun.get_mut(*number) else { continue };
            if !std::mem::replace(begun, true) {
                self.opening.iter().for_each(|event| each(*number, event.of(*number, None)));
            }
            each(*number, parted.of(*number, None));
        }
        if parted.has_usage() {
            self.usage = Some(parted);
        } else if numbers.is_empty() {
            self.to_begun(each, |caller| parted.of(caller, None));
            if self.opening.len() < MOST_OPENING {
                self.opening.push(parted);
            }
        }
    }

    fn to_begun(&self, each: &mut impl FnMut(usize, Bytes), event: impl Fn(usize) -> Bytes) {
        let begun = self.begun.iter().enumerate().filter(|(_, begun)| **begun);
        begun.for_each(|(caller, _)| each(caller, event(caller)));
    }
}

/// `event`, whose payload is `data`, with that on one line, and where it is there.
fn on_one_line(event: &Bytes, data: &[u8]) -> (Bytes, Range<usize>) {
    const FIELD: &[u8] = b"data: ";
    let at = (data.as_ptr() as usize).wrapping_sub(event.as_ptr() as usize);
    if at.checked_add(data.len()).is_some_and(|end| end <= event.len()) {
        return (event.clone(), at..at + data.len());
    }
    // It was on several lines: a line end in JSON is white space.
    let mut line = [FIELD, data, b"\n\n"].concat();
    let json = FIELD.len()..FIELD.len() + data.len();
    for byte in line.get_mut(json.clone()).into_iter().flatten() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    (line.into(), json)
}

fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

fn is_json(data: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\ndata: {\"id\":\"c\",\"choices\":[],\"x\":1}\n\n\
        data: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}],\"usage\":null}\n\n\
        data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"d\":\"a\"},{\"index\":1,\"d\":\"c\"},{\"index\":9}]}\n\n\
        : ping\n\ndata: {\"choices\":\ndata: [{\"index\":1}]}\n\n\
        data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"completion_tokens\":5,\"total_tokens\":9}}\n\n\
        data: [DONE]\n\n";

    /// What each of three callers gets of [`STREAM`], cut at these places.
    fn dealt(cuts: &[usize]) -> (Vec<String>, Dealer) {
        let mut dealer = Dealer::new(3);
        let mut texts = vec![String::new(); 3];
        let whole = Bytes::from_static(STREAM.as_bytes());
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % whole.len()).collect();
        places.extend([0, whole.len()]);
        places.sort_unstable();
        for cut in places.windows(2) {
            dealer.take(whole.slice(cut[0]..cut[1]), |caller, event| {
                texts[caller].push_str(std::str::from_utf8(&event).unwrap());
            });
        }
        (texts, dealer)
    }

    #[test]
    fn each_has_its_own_events_in_order() {
        let (texts, dealer) = dealt(&[]);
        assert_eq!(
            texts[0],
            "data: {\"id\":\"c\",\"choices\":[],\"x\":1}\n\n\
             data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"d\":\"a\"}]}\n\n: ping\n\n"
        );
        assert_eq!(
            texts[1],
            "data: {\"id\":\"c-1\",\"choices\":[],\"x\":1}\n\n\
             data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}],\"usage\":null}\n\n\
             data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"d\":\"c\"}]}\n\n: ping\n\n\
             data: {\"choices\": [{\"index\":0}]}\n\n"
        );
        assert_eq!(texts[2], "");
        assert_eq!(dealer.begun, [true, true, false]);
        let tokens = Tokens { input: 4, output: 2, ..Tokens::default() };
        assert_eq!(
            dealer.last(1, Some(&tokens)),
            "data: {\"id\":\"c-1\",\"choices\":[],\"usage\":{\"completion_tokens\":2,\"total_tokens\":6}}\n\n\
             data: [DONE]\n\n"
        );
        assert_eq!(dealer.last(1, None), "data: [DONE]\n\n");
    }

    #[test]
    fn figures_for_all_are_nobodys() {
        let mut dealer = Dealer::new(2);
        let mut seen = Vec::new();
        let event = "data: {\"choices\":[{\"index\":1}],\"usage\":{\"completion_tokens\":7}}\n\n";
        dealer.take(Bytes::from_static(event.as_bytes()), |_, event| seen.push(event));
        assert_eq!(seen, ["data: {\"choices\":[{\"index\":0}],\"usage\":null}\n\n"]);
        let tokens = Tokens { output: 3, ..Tokens::default() };
        let last = dealer.last(1, Some(&tokens));
        assert_eq!(last, "data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\n");
    }

    #[test]
    fn an_end_without_its_blank_line_is_one_and_a_torn_event_is_none() {
        let end = |text: &'static str| {
            let mut dealer = Dealer::new(1);
            let mut seen = Vec::new();
            dealer.take(Bytes::from_static(text.as_bytes()), |_, event| seen.push(event));
            dealer.finish(|_, event| seen.push(event));
            (seen, dealer.last(0, None))
        };
        assert_eq!(end("data: [DONE]\n"), (vec![], "data: [DONE]\n\n\n".into()));
        let (seen, last) = end("data: {\"choices\":[{}]}");
        assert_eq!((seen.len(), last), (1, Bytes::new()));
        assert_eq!(end("data: {\"choices\":[{}"), (vec![], Bytes::new()));
    }

    proptest! {
        /// However the provider's bytes are cut.
        #[test]
        fn cuts_change_nothing(cuts in prop::collection::vec(0_usize..10_000, 0..12)) {
            prop_assert_eq!(dealt(&cuts).0, dealt(&[]).0);
        }
    }
}
