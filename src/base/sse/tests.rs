use proptest::prelude::*;

use super::*;

/// Every piece of a stream that arrives as `chunks`.
fn split(limit: usize, chunks: &[&[u8]]) -> Vec<Piece> {
    let mut splitter = Splitter::new(limit);
    let mut pieces = Vec::new();
    for chunk in chunks {
        splitter.push(Bytes::copy_from_slice(chunk));
        pieces.extend(std::iter::from_fn(|| splitter.next_piece()));
    }
    pieces.extend(splitter.finish());
    pieces
}

fn events(pieces: &[Piece]) -> Vec<&[u8]> {
    pieces.iter().filter(|piece| matches!(piece, Piece::Event(_))).map(bytes).collect()
}

fn bytes(piece: &Piece) -> &[u8] {
    match piece {
        Piece::Event(bytes) | Piece::Raw(bytes) => bytes,
    }
}

#[test]
fn every_line_end_ends_a_line() {
    for end in ["\n", "\r", "\r\n"] {
        let first = format!("event: a{end}data: 1{end}{end}");
        let second = format!(": hello{end}data: 2{end}{end}");
        let stream = format!("{first}{second}");
        let pieces = split(100, &[stream.as_bytes()]);
        assert_eq!(events(&pieces), [first.as_bytes(), second.as_bytes()], "{end:?}");
        assert_eq!(pieces.len(), 2);
    }
}

#[test]
fn an_event_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from(b"data: 1\n\ndata: 2\n\n".to_vec());
    let mut splitter = Splitter::new(100);
    splitter.push(chunk.clone());
    let first = splitter.next_piece().unwrap().into_bytes();
    let second = splitter.next_piece().unwrap().into_bytes();
    assert_eq!(first.as_ptr(), chunk.as_ptr());
    assert_eq!(second.as_ptr(), chunk[9..].as_ptr());
}

#[test]
fn an_event_leaves_as_soon_as_its_blank_line_is_there() {
    let mut splitter = Splitter::new(100);
    splitter.push(Bytes::from_static(b"data: 1\r\n\r"));
    assert_eq!(splitter.next_piece(), None, "the CR may be half of a CRLF");
    splitter.push(Bytes::from_static(b"\n"));
    assert_eq!(splitter.next_piece(), Some(Piece::Event(Bytes::from_static(b"data: 1\r\n\r\n"))));
    splitter.push(Bytes::from_static(b"data: 2\n"));
    assert_eq!(splitter.next_piece(), None);
    splitter.push(Bytes::from_static(b"\n"));
    assert_eq!(splitter.next_piece(), Some(Piece::Event(Bytes::from_static(b"data: 2\n\n"))));
    assert_eq!(splitter.finish(), None);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_event() {
    let stream = b"\xEF\xBB\xBFdata: 1\n\n\xEF\xBB\xBFdata: 2\n\n";
    for cut in 0..stream.len() {
        let (head, tail) = stream.split_at(cut);
        let pieces = split(100, &[head, tail]);
        assert_eq!(pieces[0], Piece::Raw(Bytes::from_static(b"\xEF\xBB\xBF")), "{cut}");
        assert_eq!(data(events(&pieces)[0]).as_deref(), Some(&b"1"[..]));
        // Later on it is the start of an unknown field's name.
        assert_eq!(data(events(&pieces)[1]), None);
    }
}

#[test]
fn an_event_over_the_limit_comes_raw_and_the_next_one_whole() {
    let long = [b"data: ".as_slice(), &[b'x'; 100], b"\n\n"].concat();
    let stream = [long.as_slice(), b"data: 2\n\n"].concat();
    for size in [1, 7, 50, 1000] {
        let chunks: Vec<&[u8]> = stream.chunks(size).collect();
        let pieces = split(64, &chunks);
        assert_eq!(events(&pieces), [b"data: 2\n\n"], "chunks of {size}");
        let largest_held = pieces.iter().map(|piece| bytes(piece).len()).max();
        assert!(largest_held <= Some(64 + size));
    }
}

#[test]
fn what_is_unfinished_comes_raw() {
    assert_eq!(
        split(100, &[b"data: 1\n\nda", b"ta: 2\n"]),
        [
            Piece::Event(Bytes::from_static(b"data: 1\n\n")),
            Piece::Raw(Bytes::from_static(b"data: 2\n"))
        ]
    );
    assert_eq!(split(100, &[b"\xEF\xBB"]), [Piece::Raw(Bytes::from_static(b"\xEF\xBB"))]);
}

#[test]
fn fields_are_read_as_the_standard_says() {
    let event = b": comment\ndata:  two spaces\r\ndata:none\rdata\nid: 7\nevent: a\nevent: b\n\n";
    assert_eq!(data(event).unwrap(), b" two spaces\nnone\n".as_slice());
    assert_eq!(name(event), Some(&b"b"[..]));
    assert_eq!(fields(event).nth(3), Some((&b"id"[..], &b"7"[..])));
    assert!(matches!(data(b"data: {}\n\n"), Some(Cow::Borrowed(b"{}"))));
    assert_eq!(data(b"data\n\n").as_deref(), Some(&b""[..]));
    assert_eq!(data(b": ping\n\n"), None);
    assert_eq!(name(b"data: 1\n\n"), None);
}

proptest! {
    /// Bytes that matter to the syntax, and a few that do not.
    #[test]
    fn events_do_not_depend_on_how_the_stream_is_cut(
        stream in prop::collection::vec(
            prop::sample::select(b"\n\n\n\r\r:dx\xEF\xBB\xBF".to_vec()), 0..80),
        cuts in prop::collection::vec(0usize..80, 0..12),
        limit in 1usize..40,
    ) {
        let whole = split(limit, &[&stream]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([stream.len()]) {
            chunks.push(&stream[from..cut]);
            from = cut;
        }
        let pieces = split(limit, &chunks);
        let joined: Vec<u8> = pieces.iter().flat_map(bytes).copied().collect();
        prop_assert_eq!(joined, stream.clone());
        prop_assert_eq!(events(&pieces), events(&whole));
        prop_assert!(pieces.iter().all(|piece| !bytes(piece).is_empty()));
        prop_assert!(events(&pieces).iter().all(|event| event.len() <= limit));
    }
}
