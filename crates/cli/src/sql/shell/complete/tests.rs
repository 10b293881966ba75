use super::*;

fn names() -> Names {
    let table = |schema: &str, name: &str, columns: &[&str]| Relation {
        schema: schema.to_owned(),
        name: name.to_owned(),
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Names {
        databases: texts(&["frazil", "sample"]),
        schemas: texts(&["public", "tpch"]),
        tables: vec![
            table("public", "orders", &["o_orderkey", "o_comment", "Odd name"]),
            table("public", "Mixed", &["a"]),
            table("tpch", "lineitem", &["l_orderkey", "l_tax"]),
            table("tpch", "nation", &["n_name", "order"]),
        ],
        functions: texts(&["sum", "substr"]),
        stages: texts(&["landing"]),
    }
}

/// The text as each of the offers would leave it; `|` is the cursor.
fn offered(typed: &str) -> Vec<String> {
    let (text, behind) = typed.split_once('|').expect("there is a cursor");
    let (names, profiles) = (names(), ["dev".to_owned(), "prod".to_owned()]);
    let known = Known { names: &names, profiles: &profiles };
    let Some(completion) = complete(text, behind, &known) else { return vec!["files or nothing".to_owned()] };
    completion.offered.iter().map(|word| format!("{}{word}", &text[..completion.start])).collect()
}

#[test]
fn keywords_are_in_the_case_that_was_begun() {
    assert_eq!(offered("sel|"), ["select"]);
    assert_eq!(offered("SEL|"), ["SELECT"]);
    assert_eq!(offered("select 1 gro|"), ["select 1 group", "select 1 grouping"]);
    assert!(offered("|").contains(&"SELECT".to_owned()));
    assert_eq!(offered("select su|"), ["select substr", "select sum"]);
}

#[test]
fn tables_stand_where_tables_may() {
    assert_eq!(offered("select * from ord|"), ["select * from orders"]);
    assert_eq!(offered("select * from nation n, li|"), ["select * from nation n, lineitem"]);
    assert_eq!(offered("select * from tpch.|"), ["select * from tpch.lineitem", "select * from tpch.nation"]);
    assert_eq!(offered("select * from sample.tpch.na|"), ["select * from sample.tpch.nation"]);
    assert_eq!(offered("select * from sample.t|"), ["select * from sample.tpch"]);
    assert_eq!(offered("insert into Or|"), ["insert into orders"]);
    assert_eq!(offered("select * from mi|"), ["select * from \"Mixed\""]);
    assert_eq!(offered("select * from \"Mi|"), ["select * from \"Mixed\""]);
    assert_eq!(offered("select 1; select * from ord|"), ["select 1; select * from orders"]);
    assert_eq!(offered("copy into t from @la|"), ["copy into t from @landing"]);
}

#[test]
fn columns_are_those_of_the_tables_of_the_statement() {
    assert_eq!(offered("select o_| from orders"), ["select o_comment", "select o_orderkey"]);
    assert_eq!(offered("select * from lineitem where l_t|"), ["select * from lineitem where l_tax"]);
    assert_eq!(offered("select x.| from tpch.nation as x"), ["select x.\"order\"", "select x.n_name"]);
    assert_eq!(offered("select orders.o_c| from orders"), ["select orders.o_comment"]);
    assert_eq!(offered("select odd| from orders"), ["select \"Odd name\""]);
    assert_eq!(offered("select l_| from orders"), [""; 0]);
    assert_eq!(offered("select l_| from orders; "), [""; 0]);
    assert_eq!(offered("select * from lineitem; select l_|"), [""; 0]);
}

#[test]
fn texts_and_comments_are_left_alone() {
    for typed in ["select 'sel|", "-- sel|", "/* sel|", "select 12|"] {
        assert_eq!(offered(typed), ["files or nothing"], "{typed}");
    }
}

#[test]
fn commands_and_what_they_take() {
    assert_eq!(offered("\\ti|"), ["\\timing"]);
    assert_eq!(offered("\\timing o|"), ["\\timing on", "\\timing off"]);
    assert_eq!(offered("\\format nd|"), ["\\format ndjson"]);
    assert_eq!(offered("\\d tpch.l|"), ["\\d tpch.lineitem"]);
    assert_eq!(offered("\\c sa|"), ["\\c sample"]);
    assert_eq!(offered("\\profile |"), ["\\profile dev", "\\profile prod"]);
    assert_eq!(offered("\\i /et|"), ["files or nothing"]);
    assert_eq!(offered("\\q |"), [""; 0]);
}

#[test]
fn no_text_is_too_odd() {
    for typed in
        ["a.|", ".|", "\"|", "\"a\".\"|", "é.ü|", "select 🦀 from 🦀.|", "from ,|", ";|", "\\|", "\\d \"|", "$$|"]
    {
        offered(typed);
    }
}
