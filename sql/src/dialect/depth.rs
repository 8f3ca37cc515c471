//! How deep a statement becomes where its text is flat.
//!
//! `a OR b OR c ...`, `1 + 1 + ...`, `... UNION ALL ...`, joins one after the other and tables of a `WITH` that stand on each
//! other are trees as deep as they are long, and every step of parsing, planning and dropping them goes down by recursion:
//! a stack ends with the process. So they are counted before they are parsed. (What is nested, the parser counts.)

use datafusion::sql::sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan},
};

use crate::Error;

/// Levels that a statement may have. (The threads that plan and run have stacks for several times as many.)
const MOST: usize = 1_000;
/// Levels that a join, a set operation or a table of a `WITH` counts for: each is several nodes of a plan.
const OF_A_RELATION: usize = 4;

/// What stands between two brackets, or between `CASE` and `END`.
#[derive(Default)]
struct Level {
    /// `AND` and `OR` since the last clause or comma.
    logical: usize,
    /// Other operators since the last of these.
    others: usize,
    /// Joins of this `FROM`.
    joins: usize,
    /// Set operations, and tables of a `WITH`.
    sets: usize,
    in_from: bool,
    in_with: bool,
    in_case: bool,
    /// The `AND` of a `BETWEEN` comes.
    between: bool,
}

impl Level {
    fn depth(&self) -> usize {
        self.logical + self.others + OF_A_RELATION * (self.joins + self.sets)
    }

    /// Another expression begins.
    fn next(&mut self) {
        (self.logical, self.others, self.between) = (0, 0, false);
    }

    fn word(&mut self, keyword: Keyword, before: Before) {
        match keyword {
            Keyword::BETWEEN => {
                self.between = true;
                self.others += 1;
            }
            Keyword::AND if self.between => self.between = false,
            Keyword::AND | Keyword::OR | Keyword::XOR => {
                self.logical += 1;
                self.others = 0;
            }
            Keyword::IS | Keyword::IN | Keyword::LIKE | Keyword::ILIKE | Keyword::SIMILAR | Keyword::RLIKE => {
                self.others += 1;
            }
            Keyword::REGEXP | Keyword::DIV | Keyword::COLLATE | Keyword::AT | Keyword::NOTNULL | Keyword::MEMBER => {
                self.others += 1;
            }
            Keyword::OPERATOR | Keyword::OVERLAPS => self.others += 1,
            Keyword::JOIN | Keyword::LATERAL => {
                self.joins += 1;
                self.in_from = true;
                self.next();
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => {
                self.sets += 1;
                (self.joins, self.in_from) = (0, false);
                self.next();
            }
            // (Before a time zone or an ordinality, no `AS (` follows.)
            Keyword::WITH => self.in_with = true,
            // `IS DISTINCT FROM` is an operator.
            Keyword::FROM if before != Before::Distinct => {
                (self.in_from, self.in_with) = (true, false);
                self.next();
            }
            Keyword::SELECT | Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::ORDER | Keyword::LIMIT => {
                (self.in_from, self.in_with) = (false, false);
                self.next();
            }
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE if self.in_case => self.next(),
            Keyword::ON | Keyword::USING | Keyword::VALUES | Keyword::SET => self.next(),
            _ => {}
        }
    }
}

/// What stands before a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing, or a bracket that opens.
    Start,
    /// A bracket that closes.
    Closed,
    Period,
    Distinct,
    As,
    Other,
}

/// # Errors
/// [`Error::Invalid`], with the place from which on it is too deep.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), Error> {
    let mut around: Vec<Level> = Vec::new();
    let (mut level, mut below) = (Level::default(), 0);
    let (mut before, mut in_fields) = (Before::Start, false);
    for token in tokens {
        let mut now = Before::Other;
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => {
                // The tables of a WITH are in brackets.
                level.sets += usize::from(level.in_with && before == Before::As);
                below += level.depth();
                around.push(std::mem::take(&mut level));
                now = Before::Start;
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                while level.in_case && !around.is_empty() {
                    level = around.pop().unwrap_or_default();
                    below = below.saturating_sub(level.depth());
                }
                level = around.pop().unwrap_or_default();
                below = below.saturating_sub(level.depth());
                level.others += usize::from(token.token != Token::RParen);
                now = Before::Closed;
            }
            Token::Comma => {
                level.joins += usize::from(level.in_from);
                level.next();
            }
            Token::SemiColon => level = Level::default(),
            Token::Period => {
                // `(a).b.c`: each is a level, unlike the parts of a name.
                in_fields |= before == Before::Closed;
                level.others += usize::from(in_fields);
                now = Before::Period;
            }
            Token::Word(word) if word.quote_style.is_none() && before != Before::Period => match word.keyword {
                Keyword::CASE => {
                    level.others += 1;
                    below += level.depth();
                    around.push(std::mem::take(&mut level));
                    level.in_case = true;
                }
                Keyword::END if level.in_case => {
                    level = around.pop().unwrap_or_default();
                    below = below.saturating_sub(level.depth());
                }
                keyword => {
                    level.word(keyword, before);
                    now = match keyword {
                        Keyword::DISTINCT => Before::Distinct,
                        Keyword::AS => Before::As,
                        Keyword::NOT | Keyword::MATERIALIZED if before == Before::As => Before::As,
                        _ => Before::Other,
                    };
                }
            },
            Token::Word(_) | Token::Number(..) | Token::Placeholder(_) | Token::SingleQuotedString(_) | Token::EOF => {}
            _ => level.others += 1,
        }
        in_fields &= matches!(token.token, Token::Period | Token::Word(_));
        before = now;
        if below + level.depth() > MOST {
            return Err(Error::Invalid {
                message: format!(
                    "more than {MOST} operations stand one in the other here: of many values write `x IN (a, b, ...)`, of many \
                     rows a table of `work`"
                ),
                line: Some(token.span.start.line),
                column: Some(token.span.start.column),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use rstest::rstest;

    fn many(one: &str, times: usize, with: &str) -> String {
        vec![one; times].join(with)
    }

    #[rstest]
    #[case(format!("SELECT {}", many("1", 100_000, " + ")))]
    #[case(format!("SELECT {}", many("'a'", 2_000, " || ")))]
    #[case(format!("SELECT 1 WHERE {}", many("a LIKE '%x%'", 20_000, " OR ")))]
    #[case(format!("SELECT 1 WHERE {}", many("a BETWEEN 1 AND 2", 2_000, " AND ")))]
    #[case(many("SELECT 1", 5_000, " UNION ALL "))]
    #[case(format!("SELECT 1 FROM {}", many("t", 5_000, ", ")))]
    #[case(format!("SELECT 1 FROM t {}", many("JOIN u ON a = b", 5_000, " ")))]
    #[case(format!("SELECT a{}", many("::int", 5_000, "")))]
    #[case(format!("SELECT {}", many("(1 + ", 40, &many("1", 100, " + "))))]
    #[case(format!("WITH {} SELECT 1", many("a AS (SELECT * FROM b)", 1_000, ", ")))]
    #[case(format!("EXPLAIN WITH {} SELECT 1", many("a AS (SELECT * FROM b)", 1_000, ", ")))]
    #[case(format!("INSERT INTO t WITH {} SELECT 1", many("a AS NOT MATERIALIZED (SELECT 1)", 1_000, ", ")))]
    #[case(format!("CREATE VIEW v AS WITH {} SELECT 1", many("a AS MATERIALIZED (SELECT 1)", 1_000, ", ")))]
    #[case(format!("SELECT 1 {}", many("IN (1)", 5_000, " ")))]
    #[case(format!("SELECT a {}", many("BETWEEN 1 AND 2", 5_000, " ")))]
    #[case(many("SELECT 1", 5_000, " MINUS "))]
    #[case(format!("SELECT a{}", many("[1]", 5_000, "")))]
    #[case(format!("SELECT (s){}", many(".x", 5_000, "")))]
    #[case(format!("SELECT {}", many("CASE WHEN a THEN 1 END", 5_000, " + ")))]
    #[case(format!("SELECT {}", many("p.end", 5_000, " || ")))]
    #[case(format!("SELECT {} 1 {}", many("CASE WHEN a THEN", 1_100, " "), many("END", 1_100, " ")))]
    fn what_is_deep_is_refused_before_it_is_parsed(#[case] sql: String) {
        let error = parse(&sql).unwrap_err().to_string();
        assert!(error.contains("one in the other"), "{error}");
    }

    #[rstest]
    #[case(format!("SELECT 1 WHERE {}", many("a > 1", 900, " OR ")))]
    #[case(format!("SELECT 1 WHERE {}", many("a BETWEEN 1 AND 2", 900, " OR ")))]
    #[case(format!("SELECT a IN ({})", many("1 + 1", 20_000, ", ")))]
    #[case(format!("VALUES {}", many("(1 + 1, 'a' || 'b')", 20_000, ", ")))]
    #[case(format!("SELECT CASE {} END", many("WHEN a = 1 AND b = 2 THEN a + b", 2_000, " ")))]
    #[case(format!("SELECT {}", many("a + b", 5_000, ", ")))]
    #[case(many("SELECT a + b FROM t WHERE a = 1", 200, " UNION ALL "))]
    #[case(format!("SELECT a IS DISTINCT FROM b, {} FROM t", many("c", 900, ", ")))]
    #[case(format!("SELECT CAST(a AS TIMESTAMP WITH TIME ZONE), {}", many("f(a)", 900, ", ")))]
    #[case(format!("SELECT {}", many("CAST(a AS TIMESTAMP WITH TIME ZONE) AS \"(\"", 900, ", ")))]
    #[case(many("SELECT 1 FROM a JOIN b ON a.x = b.y JOIN c ON a.x = c.y", 200, " UNION ALL "))]
    fn what_is_long_is_parsed(#[case] sql: String) {
        parse(&sql).unwrap();
    }
}
