use super::{
    command::{self, Command},
    failure::Failure,
    lexer::{Token, tokens},
};

/// One statement of a text.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) sql: String,
    /// Characters of the text before it.
    pub(super) before: usize,
    pub(super) command: Command,
}

/// Cuts a text into its statements at the semicolons; empty ones are left out.
///
/// # Errors
/// 42601 for a text that ends within a literal or a comment, and for a command that is not complete.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Failure> {
    let tokens = tokens(text)?;
    let mut pieces = Vec::new();
    for part in tokens.split(|token| token.is_sign(';')) {
        if let (Some(first), Some(last)) = (part.first(), part.last()) {
            let span = first.span.start..last.span.end;
            let before = text[..span.start].chars().count();
            let start = span.start;
            let sql = text[span].to_owned();
            let own: Vec<Token> = part
                .iter()
                .map(|token| Token { kind: token.kind.clone(), span: token.span.start - start..token.span.end - start })
                .collect();
            let command = command::read(&sql, &own).map_err(|failure| failure.located(&sql, before))?;
            pieces.push(Piece { sql, before, command });
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", &[])]
    #[case(" ;; -- nothing\n;", &[])]
    #[case("SELECT 1", &["SELECT 1"])]
    #[case("SELECT ';' ; SELECT \"a;b\"; ", &["SELECT ';'", "SELECT \"a;b\""])]
    #[case("BEGIN; SELECT $$;$$ /* ; */ AS x; COMMIT", &["BEGIN", "SELECT $$;$$ /* ; */ AS x", "COMMIT"])]
    fn a_text_is_cut_at_its_semicolons(#[case] text: &str, #[case] expected: &[&str]) {
        let pieces = pieces(text).unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.sql.as_str()).collect::<Vec<_>>(), expected);
    }
}
