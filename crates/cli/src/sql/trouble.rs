//! How a failed statement is shown: what, where, and the line with a mark below the place.

use super::split::Statement;
use crate::client::ClientError;

/// Of a line with more characters, only the surroundings of the place are shown.
const LINE_CHARACTERS_MAX: usize = 120;

/// Ends with a newline. Places are those of the whole text that the statement was cut from.
pub fn report(error: &ClientError, statement: &Statement<'_>, whole: &str) -> String {
    let ClientError::Statement(failure) = error else { return format!("error: {error}\n") };
    let mut failure = failure.clone();
    failure.position = failure.position.map(|place| statement.place_in_whole(place));
    let mut text = format!("error: {failure}\n");
    if let Some((line, column)) = failure.position
        && let Some(shown) = whole.lines().nth(line as usize - 1)
    {
        text.push_str(&marked(shown, column as usize));
    }
    text
}

fn marked(line: &str, column: usize) -> String {
    let characters: Vec<char> = line.chars().collect();
    let place = column.saturating_sub(1).min(characters.len());
    let start = if characters.len() > LINE_CHARACTERS_MAX { place.saturating_sub(LINE_CHARACTERS_MAX / 2) } else { 0 };
    let end = (start + LINE_CHARACTERS_MAX).min(characters.len());
    let shown: String = characters[start..end].iter().collect();
    // Tabs stay tabs, so that the mark stands below its place whatever their width.
    let indent: String = characters[start..place].iter().map(|&c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("  {shown}\n  {indent}^\n")
}

#[cfg(test)]
mod tests {
    use super::super::split::statements;
    use super::*;
    use crate::client::StatementFailure;

    fn shown(text: &str, number: usize, position: Option<(u32, u32)>) -> String {
        let failure = StatementFailure {
            sql_state: "42601".to_owned(),
            message: "unexpected word".to_owned(),
            position,
            ..StatementFailure::default()
        };
        report(&ClientError::Statement(failure), &statements(text)[number], text)
    }

    #[test]
    fn the_mark_stands_below_the_place() {
        assert_eq!(
            shown("SELECT 1;\n\tSELEC 2", 1, Some((1, 1))),
            "error: unexpected word (line 2, column 2)  SQLSTATE 42601\n  \tSELEC 2\n  \t^\n"
        );
        assert_eq!(
            shown("SELECT é FROM\nx y z", 0, Some((2, 5))),
            "error: unexpected word (line 2, column 5)  SQLSTATE 42601\n  x y z\n      ^\n"
        );
        assert_eq!(shown("SELECT", 0, None), "error: unexpected word  SQLSTATE 42601\n");
    }

    #[test]
    fn long_lines_and_wild_places_are_bounded() {
        let long = "x".repeat(100_000);
        let report = shown(&long, 0, Some((1, 50_000)));
        assert!(report.len() < 400, "{}", report.len());
        assert!(shown("SELECT", 0, Some((1, 4_000_000_000))).ends_with("      ^\n"));
        assert!(!shown("SELECT", 0, Some((9, 9))).contains('^'));
    }
}
