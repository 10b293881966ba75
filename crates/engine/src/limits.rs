//! What a statement may ask of the planner, checked on its tokens before anything recursive sees it.
//!
//! Parsing, planning and optimising recurse over expressions, and some rules take time that grows with the square of their
//! size (`1+1+…` of 3,000 terms: 8.7 s in DataFusion 55.0). The checks here are linear and iterative.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use frazil_common::{ErrorCode, Failure};

#[derive(Clone, Copy, Debug)]
pub struct StatementLimits {
    pub statement_bytes_max: usize,
    /// Operators (`OR`, `+`, `LIKE`, …) in one statement.
    pub expression_terms_max: usize,
    /// Open parentheses, brackets and `CASE`s at any place.
    pub nesting_max: usize,
    /// Set operations in one statement: each adds a level to the plan.
    pub set_operations_max: usize,
    /// Commas: elements of lists. Cheap ones, but a plan of a million literals is not.
    pub elements_max: usize,
}

impl Default for StatementLimits {
    fn default() -> Self {
        Self {
            statement_bytes_max: 4 << 20,
            expression_terms_max: 5000,
            nesting_max: 200,
            set_operations_max: 200,
            elements_max: 200_000,
        }
    }
}

/// Refuses what is over a limit. Text that does not even tokenize passes: the parser reports it with its position.
pub fn check(sql: &str, limits: &StatementLimits) -> Result<(), Failure> {
    let complex = |what: String| Err(Failure::new(ErrorCode::TooComplex, what));
    if sql.len() > limits.statement_bytes_max {
        return complex(format!(
            "the statement has {} bytes, at most {} are taken",
            sql.len(),
            limits.statement_bytes_max
        ));
    }
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    let (mut terms, mut nesting, mut set_operations, mut elements) = (0usize, 0usize, 0usize, 0usize);
    // Prefix operators in a row nest without parentheses.
    let mut prefixes = 0usize;
    for token in &tokens {
        match token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => nesting += 1,
            Token::RParen | Token::RBracket | Token::RBrace => nesting = nesting.saturating_sub(1),
            Token::Comma => elements += 1,
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR | Keyword::LIKE | Keyword::ILIKE | Keyword::IN | Keyword::BETWEEN => {
                    terms += 1
                }
                Keyword::WHEN | Keyword::IS => terms += 1,
                Keyword::NOT => prefixes += 1,
                Keyword::CASE => nesting += 1,
                Keyword::END => nesting = nesting.saturating_sub(1),
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => set_operations += 1,
                _ => {}
            },
            Token::Plus | Token::Minus | Token::Tilde | Token::ExclamationMark => {
                terms += 1;
                prefixes += 1;
            }
            Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::Eq
            | Token::Neq
            | Token::DoubleColon => {
                terms += 1;
            }
            Token::Lt | Token::Gt | Token::LtEq | Token::GtEq | Token::Ampersand | Token::Pipe | Token::Caret => {
                terms += 1;
            }
            _ => prefixes = 0,
        }
        if nesting > limits.nesting_max || prefixes > limits.nesting_max {
            return complex(format!("the statement nests deeper than {} levels", limits.nesting_max));
        }
    }
    if terms > limits.expression_terms_max {
        return complex(format!(
            "the statement has {terms} operators, at most {} are taken",
            limits.expression_terms_max
        ));
    }
    if set_operations > limits.set_operations_max {
        let most = limits.set_operations_max;
        return complex(format!("the statement has {set_operations} set operations, at most {most} are taken"));
    }
    if elements > limits.elements_max {
        return complex(format!(
            "the statement has {elements} list elements, at most {} are taken",
            limits.elements_max
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_statements_pass_and_monsters_do_not() {
        let limits = StatementLimits::default();
        assert!(check("select a, b from t where a = 1 and (b like '%OR%' or c in (1, 2))", &limits).is_ok());
        let refused = |sql: String| check(&sql, &limits).unwrap_err().code == ErrorCode::TooComplex;
        assert!(refused(format!("select {}1", "1 + ".repeat(20_000))));
        assert!(refused(format!("select * from t where {}a = 1", "a = 1 OR ".repeat(20_000))));
        assert!(refused(format!("select {}1{}", "(".repeat(1000), ")".repeat(1000))));
        assert!(refused(format!("select {}true", "not ".repeat(1000))));
        assert!(refused(format!("select {}1", "- ".repeat(1000))));
        assert!(refused(format!("select 1{}", " union all select 1".repeat(1000))));
        assert!(refused(format!("select '{}'", "x".repeat(5 << 20))));
        assert!(refused(format!("select {}1{}", "case when true then ".repeat(500), " end".repeat(500))));
        assert!(check("select 'unterminated", &limits).is_ok());
    }
}
