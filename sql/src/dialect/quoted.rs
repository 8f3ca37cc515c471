use std::{convert::Infallible, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{Expr, Statement, Visit, Visitor};

use crate::Error;

/// Names that a statement has in double quotes. Hive takes them for texts, everybody else for columns: so do we, for a
/// column that is misspelt must not become a text that is compared with.
#[derive(Debug, Default)]
pub(crate) struct Quoted(Vec<String>);

impl Quoted {
    pub(crate) fn of(statement: &Statement) -> Self {
        let mut names = Self::default();
        // It breaks off nowhere.
        if let ControlFlow::Break(never) = statement.visit(&mut names) {
            match never {}
        }
        names
    }

    /// `error`, with a hint where it misses a column of such a name.
    pub(crate) fn explained(&self, error: Error) -> Error {
        match error {
            Error::Invalid { message, line, column } => {
                let hint = self.hint(&message).unwrap_or_default();
                Error::Invalid { message: message + &hint, line, column }
            }
            other => other,
        }
    }

    fn hint(&self, message: &str) -> Option<String> {
        let rest = message.strip_prefix("No field named ")?;
        // The planner writes a name that has to be in quotes as one, with its quotes doubled.
        let is_missed = |name: &&String| {
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            let ends = |after: &str| after == "." || after.starts_with(". ") || after.starts_with(".\n");
            [quoted.as_str(), name.as_str()].iter().any(|written| rest.strip_prefix(written).is_some_and(ends))
        };
        let name = self.0.iter().find(is_missed)?;
        Some(format!(" If it is a text, write it in single quotes: '{}'", name.replace('\'', "''")))
    }
}

impl Visitor for Quoted {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Infallible> {
        if let Expr::Identifier(ident) = expr
            && ident.quote_style == Some('"')
        {
            self.0.push(ident.value.clone());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dialect::parse, fault};
    use rstest::rstest;

    #[rstest]
    #[case("SELECT \"Durand\"", "No field named \"Durand\".", true)]
    #[case("SELECT a FROM t WHERE a = \"durand\"", "No field named durand.\nValid fields are t.a.", true)]
    #[case("SELECT \"nme\" FROM t", "No field named nme. Did you mean 't.name'?", true)]
    #[case("SELECT durand", "No field named durand.", false)]
    #[case("SELECT `durand`", "No field named durand.", false)]
    #[case("SELECT \"t\", t.x FROM t", "No field named t.x.", false)]
    #[case("SELECT \"a\"", "column `a` is ambiguous", false)]
    fn who_wrote_a_text_in_double_quotes_is_told(#[case] sql: &str, #[case] message: &str, #[case] told: bool) {
        let error = Quoted::of(&parse(sql).unwrap()).explained(fault::invalid(message));
        assert_eq!(error.to_string().contains("in single quotes: '"), told, "{error}");
        assert!(error.to_string().starts_with(message), "{error}");
    }
}
