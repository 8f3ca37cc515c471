use bytes::{Buf, Bytes, BytesMut};

use super::failure::{Failure, state};

/// Longest message that is read, in bytes: parameters of one execution.
const LONGEST: usize = 16 << 20;
/// Longest message of somebody who is not let in yet, in bytes.
pub(super) const LONGEST_BEFORE: usize = 64 << 10;

/// What a client says once it is let in.
#[derive(Debug)]
pub(super) enum Message {
    Query(String),
    Parse {
        name: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Execute {
        portal: String,
        rows: u64,
    },
    Close(Target),
    Flush,
    Sync,
    Terminate,
    Password(String),
    /// Rows for a COPY that was refused: they are passed over.
    Copy,
    /// A whole message with a text that cannot be read. `alone`: a Query, after which no Sync comes.
    Unreadable {
        failure: Failure,
        alone: bool,
    },
}

/// Values for a statement's parameters.
#[derive(Debug)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    /// 0 text, 1 binary: none, one for all, or one for each.
    pub(super) formats: Vec<i16>,
    pub(super) values: Vec<Option<Bytes>>,
    /// Of the answer's columns, in the same way.
    pub(super) results: Vec<i16>,
}

#[derive(Debug)]
pub(super) enum Target {
    Statement(String),
    Portal(String),
}

/// Takes the next message off the buffer; `None` until all of it is there. `longest`: in bytes.
///
/// # Errors
/// 08P01 for what is no message; the connection cannot go on then.
pub(super) fn take(buffer: &mut BytesMut, longest: usize) -> Result<Option<Message>, Failure> {
    let Some(header) = buffer.get(..5) else { return Ok(None) };
    let mut header = header;
    let kind = header.get_u8();
    let length = usize::try_from(header.get_i32()).unwrap_or_default();
    if length < 4 {
        return Err(broken("a message is shorter than its head"));
    }
    if length > longest.min(LONGEST) {
        return Err(Failure::fatal(
            state::TOO_LARGE,
            format!("a message has {length} bytes; at most {longest} are read"),
        ));
    }
    if buffer.len() <= length {
        return Ok(None);
    }
    let mut body = buffer.split_to(length + 1).freeze();
    body.advance(5);
    match read(kind, Body(body)) {
        Err(failure) if !failure.is_fatal() => Ok(Some(Message::Unreadable { failure, alone: kind == b'Q' })),
        message => message.map(Some),
    }
}

/// Reads the fields of a message.
fn read(kind: u8, mut body: Body) -> Result<Message, Failure> {
    Ok(match kind {
        b'Q' => Message::Query(body.text()?),
        b'P' => {
            let (name, sql) = (body.text()?, body.text()?);
            let count = body.number()?;
            let types = (0..count).map(|_| body.oid()).collect::<Result<_, _>>()?;
            Message::Parse { name, sql, types }
        }
        b'B' => {
            let (portal, statement) = (body.text()?, body.text()?);
            let formats = body.formats()?;
            let count = body.number()?;
            let values = (0..count).map(|_| body.value()).collect::<Result<_, _>>()?;
            Message::Bind(Bind { portal, statement, formats, values, results: body.formats()? })
        }
        b'D' => Message::Describe(body.target()?),
        b'E' => {
            let portal = body.text()?;
            Message::Execute { portal, rows: u64::try_from(body.int()?).unwrap_or_default() }
        }
        b'C' => Message::Close(body.target()?),
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'p' => Message::Password(body.text()?),
        b'd' | b'c' | b'f' => Message::Copy,
        _ => return Err(broken("a message of a kind that is not known")),
    })
}

fn broken(what: &str) -> Failure {
    Failure::fatal(state::PROTOCOL, what.to_owned())
}

/// What is left of a message.
struct Body(Bytes);

impl Body {
    /// A text that ends with a zero byte.
    fn text(&mut self) -> Result<String, Failure> {
        let end = memchr::memchr(0, &self.0).ok_or_else(|| broken("a text of a message has no end"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.to_vec())
            .map_err(|_| Failure::error(state::BAD_ENCODING, "a text is not UTF-8: set client_encoding to UTF8"))
    }

    fn bytes(&mut self, count: usize) -> Result<Bytes, Failure> {
        if self.0.len() < count {
            return Err(broken("a message ends before its last field"));
        }
        Ok(self.0.split_to(count))
    }

    fn int(&mut self) -> Result<i32, Failure> {
        Ok(self.bytes(4)?.get_i32())
    }

    fn oid(&mut self) -> Result<u32, Failure> {
        Ok(self.bytes(4)?.get_u32())
    }

    fn number(&mut self) -> Result<u16, Failure> {
        Ok(self.bytes(2)?.get_u16())
    }

    fn formats(&mut self) -> Result<Vec<i16>, Failure> {
        let count = self.number()?;
        (0..count).map(|_| Ok(self.bytes(2)?.get_i16())).collect()
    }

    /// `None` for NULL, whose length is -1.
    fn value(&mut self) -> Result<Option<Bytes>, Failure> {
        match usize::try_from(self.int()?) {
            Ok(length) => self.bytes(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn target(&mut self) -> Result<Target, Failure> {
        let kind = self.bytes(1)?.get_u8();
        let name = self.text()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            _ => Err(broken("neither a statement nor a portal is meant")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"Q\0\0\0\x0dSELECT 1\0")]
    #[case(b"E\0\0\0\x09\0\0\0\0\x05")]
    #[case(b"B\0\0\0\x12\0\0\0\0\0\x01\xff\xff\xff\xff\0\x01\0\x01")]
    fn a_message_is_read_when_all_of_it_is_there(#[case] whole: &[u8]) {
        for end in 0..whole.len() {
            assert!(take(&mut BytesMut::from(&whole[..end]), LONGEST).unwrap().is_none());
        }
        let mut buffer = BytesMut::from(whole);
        assert!(take(&mut buffer, LONGEST).unwrap().is_some());
        assert!(buffer.is_empty());
    }

    #[rstest]
    #[case(b"Q\0\0\0\x03xxx")]
    #[case(b"Q\0\0\0\x06xx")]
    #[case(b"B\0\0\0\x0a\0\0\0\x01\0\x01")]
    #[case(b"?\0\0\0\x04")]
    #[case(b"Q\xff\xff\xff\xffxxxxxxx")]
    #[case(b"D\0\0\0\x06Q\0")]
    fn what_is_no_message_ends_the_connection(#[case] bytes: &[u8]) {
        assert!(take(&mut BytesMut::from(bytes), LONGEST).is_err());
    }

    #[rstest]
    #[case(b"Q\0\0\0\x06\xff\0", true)]
    #[case(b"P\0\0\0\x09\0\xff\0\0\0", false)]
    #[case(b"C\0\0\0\x07S\xff\0", false)]
    fn a_text_that_is_no_utf8_is_told_and_passed_over(#[case] bytes: &[u8], #[case] is_query: bool) {
        let mut buffer = BytesMut::from(bytes);
        let Some(Message::Unreadable { failure, alone }) = take(&mut buffer, LONGEST).unwrap() else {
            panic!("the text was read");
        };
        assert_eq!((failure.code, alone), (state::BAD_ENCODING, is_query));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_stranger_cannot_fill_the_memory() {
        let mut buffer = BytesMut::from(&b"p\x01\0\0\0"[..]);
        assert!(take(&mut buffer, LONGEST_BEFORE).is_err());
    }
}
