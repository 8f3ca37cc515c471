/// The items of an array as PostgreSQL writes one (`{a,"b c",NULL}`, manual, section 8.15.2), `None` for those that are
/// NULL. `None` for what is no array, or one of arrays.
#[must_use]
pub fn array_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut item = Item::default();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => item.keep(letters.next()?),
            '"' => (item.is_open, item.is_quoted) = (!item.is_open, true),
            ',' if !item.is_open => items.push(std::mem::take(&mut item).taken()?),
            '{' | '}' if !item.is_open => return None,
            letter if item.is_open => item.keep(letter),
            // Blanks around an item are none of it, unless they are quoted.
            letter if letter.is_whitespace() && item.text.is_empty() => {}
            letter => item.text.push(letter),
        }
    }
    if item.is_open {
        return None;
    }
    if !inner.trim().is_empty() {
        items.push(item.taken()?);
    }
    Some(items)
}

#[derive(Debug, Default)]
struct Item {
    text: String,
    /// Bytes of the text that were quoted or escaped, and are kept as they are.
    kept: usize,
    is_open: bool,
    is_quoted: bool,
}

impl Item {
    fn keep(&mut self, letter: char) {
        self.text.push(letter);
        self.kept = self.text.len();
        self.is_quoted = true;
    }

    /// `None` where nothing stands between two commas.
    fn taken(self) -> Option<Option<String>> {
        let end = self.text.trim_end().len().max(self.kept);
        let text = self.text.get(..end)?;
        match (self.is_quoted, text.is_empty()) {
            (false, true) => None,
            (false, false) if text.eq_ignore_ascii_case("null") => Some(None),
            _ => Some(Some(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("{}", &[])]
    #[case(" { } ", &[])]
    #[case("{a,NULL,\"b \\\"c\", d }", &[Some("a"), None, Some("b \"c"), Some("d")])]
    #[case("{\"\",\"NULL\",null,\" x \"}", &[Some(""), Some("NULL"), None, Some(" x ")])]
    #[case("{2024-02-29 12:34:56,a\\,b}", &[Some("2024-02-29 12:34:56"), Some("a,b")])]
    fn an_array_is_read_from_its_text(#[case] text: &str, #[case] expected: &[Option<&str>]) {
        let items: Vec<Option<String>> = expected.iter().map(|item| item.map(str::to_owned)).collect();
        assert_eq!(array_items(text), Some(items));
    }

    #[rstest]
    #[case("a,b")]
    #[case("{a")]
    #[case("{a,,b}")]
    #[case("{a,}")]
    #[case("{\"a}")]
    #[case("{{a},{b}}")]
    fn what_is_none_is_not_read(#[case] text: &str) {
        assert_eq!(array_items(text), None);
    }
}
