use std::any::TypeId;

use datafusion::sql::sqlparser::{
    ast::{BinaryOperator, CastKind, DataType, Expr},
    dialect::{Dialect, GenericDialect, Precedence},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

/// What analysts of PostgreSQL, Spark and DuckDB are used to, where the three do not contradict each other: identifiers in
/// double quotes or backticks, `::` casts, `$1` and `?` parameters, `VERSION AS OF` and `TIMESTAMP AS OF`.
#[derive(Debug)]
pub(super) struct Syntax;

impl Dialect for Syntax {
    /// The parser asks in a few places whether it reads a dialect that it knows; there we want the generic one.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_within_after_array_aggregation(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    /// `STRUCT<a: INT>` as a type comes with it.
    fn supports_struct_literal(&self) -> bool {
        true
    }

    /// `MAP<VARCHAR, INT>` as a type.
    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_comment_on(&self) -> bool {
        true
    }

    fn supports_limit_comma(&self) -> bool {
        true
    }

    fn supports_try_convert(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    /// `!x` of Hive.
    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    /// Arrows into JSON bind before comparisons, and as `||` does, which stands beside them: in PostgreSQL both are operators
    /// like any other.
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        matches!(
            parser.peek_token_ref().token,
            Token::Arrow | Token::LongArrow | Token::HashArrow | Token::HashLongArrow
        )
        .then(|| Ok(self.prec_value(Precedence::MulDivModOp)))
    }

    /// `a DIV b`, as Hive has it: whole, what is left over is dropped. And `a IS DISTINCT FROM b`, of which the parser takes
    /// all that follows for `b`, `AND` and `OR` included.
    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            let other = parser.parse_subexpr(self.prec_value(Precedence::Is));
            return Some(other.map(|other| Expr::IsDistinctFrom(Box::new(expr.clone()), Box::new(other))));
        }
        if parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]) {
            let other = parser.parse_subexpr(self.prec_value(Precedence::Is));
            return Some(other.map(|other| Expr::IsNotDistinctFrom(Box::new(expr.clone()), Box::new(other))));
        }
        if !parser.parse_keyword(Keyword::DIV) {
            return None;
        }
        Some(parser.parse_subexpr(precedence).map(|divisor| Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(Expr::BinaryOp {
                left: Box::new(expr.clone()),
                op: BinaryOperator::Divide,
                right: Box::new(divisor),
            }),
            data_type: DataType::BigInt(None),
            array: false,
            format: None,
        }))
    }

    fn supports_order_by_all(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }
}
