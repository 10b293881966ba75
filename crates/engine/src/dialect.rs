//! The SQL that Frazil reads: `sqlparser`'s generic dialect, and versions of tables (`t AT (…)`, `t BEFORE (…)`).

use std::any::TypeId;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// How deep a text may nest that was parsed within the limits of a session before.
const DEPTH_MAX: usize = 1024;

/// Parses one statement, and refuses several.
pub fn parse(sql: &str, state: &SessionState) -> Result<Statement> {
    let depth = state.config_options().sql_parser.recursion_limit.get();
    match parse_with(sql, &FrazilDialect::default(), depth) {
        // `SHOW … LIKE … IN …` is as common as `SHOW … IN … LIKE …`.
        Err(error) if begins_with_show(sql) => {
            parse_with(sql, &FrazilDialect { like_before_in: true }, depth).map_err(|_| error)
        }
        parsed => parsed,
    }
}

/// Parses the query of a view.
pub fn parse_query(sql: &str) -> Result<Statement> {
    parse_with(sql, &FrazilDialect::default(), DEPTH_MAX)
}

fn begins_with_show(sql: &str) -> bool {
    sql.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("show"))
}

fn parse_with(sql: &str, dialect: &FrazilDialect, depth: usize) -> Result<Statement> {
    let parser = DFParserBuilder::new(sql).with_dialect(dialect).with_recursion_limit(depth);
    let mut statements = parser.build()?.parse_statements()?;
    let first = statements.pop_front();
    match (first, statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) => Err(DataFusionError::NotImplemented("multiple statements in one text".to_owned())),
        (None, _) => Err(DataFusionError::Plan("the statement is empty".to_owned())),
    }
}

/// The generic dialect has no versions, and DataFusion knows no other that has. `sqlparser` asks in some places which dialect it
/// is rather than what it supports: there this one says that it is the generic one.
#[derive(Debug, Default)]
pub struct FrazilDialect {
    /// `SHOW TABLES LIKE 'a' IN b`, not `SHOW TABLES IN b LIKE 'a'`: a parser takes only one of the two orders.
    pub like_before_in: bool,
}

/// Asks the generic dialect. Everything that it says itself is listed; the trait's defaults are the same for both.
macro_rules! generic {
    ($($method:ident),* $(,)?) => {
        $(fn $method(&self) -> bool {
            GenericDialect.$method()
        })*
    };
}

impl Dialect for FrazilDialect {
    fn dialect(&self) -> TypeId {
        GenericDialect.dialect()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    /// `current_user()`: the parser takes it for a keyword, which has no parentheses.
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let Token::Word(word) = parser.peek_nth_token_ref(0).token.clone() else { return None };
        let called =
            parser.peek_nth_token_ref(1).token == Token::LParen && parser.peek_nth_token_ref(2).token == Token::RParen;
        if word.keyword != Keyword::CURRENT_USER || !called {
            return None;
        }
        for _ in 0..3 {
            parser.next_token();
        }
        Some(Parser::new(&GenericDialect).try_with_sql("\"current_user\"()").and_then(|mut call| call.parse_expr()))
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_show_like_before_in(&self) -> bool {
        self.like_before_in
    }

    generic!(
        supports_unicode_string_literal,
        supports_partition_by_after_order_by,
        supports_array_join_syntax,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_connect_by,
        supports_match_recognize,
        supports_pipe_operator,
        supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        support_map_literal_syntax,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_extract_comma_syntax,
        supports_create_view_comment_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_update_order_by,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_empty_projections,
        supports_nested_comments,
        supports_multiline_comment_hints,
        supports_user_host_grantee,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_match_against,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_data_type_signed_suffix,
        supports_interval_options,
        supports_quote_delimited_string,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_optimize_table,
        supports_install,
        supports_detach,
        supports_prewhere,
        supports_with_fill,
        supports_limit_by,
        supports_interpolate,
        supports_settings,
        supports_select_format,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
        supports_comma_separated_trim,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_xml_expressions,
    );
}
