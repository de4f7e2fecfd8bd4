//! Bytes into text: where they may be cut without breaking a character, and where a line ends. Pure.

use crate::messages::MAX_TEXT_BYTES;

/// How many of the bytes, from the first on, hold no character that is cut off at the end. Bytes that are no UTF-8 at
/// all count as whole.
pub(crate) fn whole_chars(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let needed = match bytes[at] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        return if needed > back { at } else { bytes.len() };
    }
    bytes.len()
}

/// A line, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Without the line's end.
    pub(crate) text: String,
    /// Whether the next piece belongs to the same line.
    pub(crate) continues: bool,
}

/// Cuts a stream into lines, and lines that are too long into pieces.
#[derive(Debug, Default)]
pub(crate) struct LineCutter {
    /// What came and was not given out yet.
    bytes: Vec<u8>,
    /// How many bytes at its start were given out.
    taken: usize,
    /// Up to where no line's end was found.
    searched: usize,
}

impl LineCutter {
    /// Adds what came next in the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line or piece that is complete.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let limit = self.taken + MAX_TEXT_BYTES;
        let searchable = &self.bytes[self.searched..self.bytes.len().min(limit + 1)];
        if let Some(length) = searchable.iter().position(|byte| *byte == b'\n') {
            let end = self.searched + length;
            return Some(self.take(end, end + 1, false));
        }
        self.searched += searchable.len();
        if self.searched <= limit {
            return None;
        }
        let end = self.taken + whole_chars(&self.bytes[self.taken..limit]);
        Some(self.take(end, end, true))
    }

    /// What stands after the last line's end, when the stream has ended.
    pub(crate) fn rest(mut self) -> Option<Piece> {
        let end = self.bytes.len();
        (self.taken < end).then(|| self.take(end, end, false))
    }

    fn take(&mut self, end: usize, next: usize, continues: bool) -> Piece {
        let text = String::from_utf8_lossy(&self.bytes[self.taken..end]).into_owned();
        (self.taken, self.searched) = (next, next);
        Piece { text, continues }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_character_that_is_cut_off_is_left_out() {
        for (bytes, whole) in [
            (&b""[..], 0),
            (b"abc", 3),
            ("aü".as_bytes(), 3),
            (&"aü".as_bytes()[..2], 1),
            ("€".as_bytes(), 3),
            (&"€".as_bytes()[..2], 0),
            (&"€".as_bytes()[..1], 0),
            (&"a🦀".as_bytes()[..4], 1),
            ("🦀".as_bytes(), 4),
            (b"a\x80\x80\x80\x80", 5),
            (b"\xff", 1),
        ] {
            assert_eq!(whole_chars(bytes), whole, "{bytes:?}");
        }
    }

    /// What comes out for a stream that comes in steps.
    fn cut(stream: &[u8], step: usize) -> Vec<Piece> {
        let mut cutter = LineCutter::default();
        let mut pieces = Vec::new();
        for part in stream.chunks(step) {
            cutter.push(part);
            pieces.extend(std::iter::from_fn(|| cutter.next()));
        }
        pieces.extend(cutter.rest());
        pieces
    }

    #[test]
    fn lines_do_not_depend_on_how_the_stream_came() {
        for (stream, expected) in
            [("", &[][..]), ("\n", &[""]), ("one\n\ntwo\n", &["one", "", "two"]), ("ü\nno end", &["ü", "no end"])]
        {
            for step in 1..=10 {
                let lines: Vec<String> = cut(stream.as_bytes(), step).into_iter().map(|piece| piece.text).collect();
                assert_eq!(lines, expected, "{stream:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_long_line_comes_in_pieces_that_join_to_the_same_line() {
        for length in [1, MAX_TEXT_BYTES / 3, MAX_TEXT_BYTES / 3 + 1, MAX_TEXT_BYTES] {
            let line = "€".repeat(length);
            let stream = format!("{line}\nshort\n");
            for step in [1_000, 65_536, 1_000_000] {
                let pieces = cut(stream.as_bytes(), step);
                assert!(pieces.iter().all(|piece| piece.text.len() <= MAX_TEXT_BYTES));
                let end = pieces.iter().position(|piece| !piece.continues).unwrap();
                let joined: String = pieces[..=end].iter().map(|piece| piece.text.as_str()).collect();
                assert!(joined == line, "{length} characters in steps of {step}");
                assert_eq!(pieces[end + 1..], [Piece { text: "short".into(), continues: false }]);
            }
        }
    }
}
