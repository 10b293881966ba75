//! The TPC-H tables as the generator sees them: kinds of columns, literals that occur, keys and relationships.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Name of a grouped subquery that stands for a table.
pub const GROUPED: &str = "grouped";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Integer,
    Decimal,
    Text,
    Date,
}

/// Where the literals come from that a column is compared with.
#[derive(Clone, Debug)]
pub enum Values {
    Range(i64, i64),
    Money(i64, i64),
    Words(&'static [&'static str]),
    /// Long text: compared by patterns.
    Patterns(&'static [&'static str]),
    Days,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// At scale 0.01, roughly: for the estimate of a join's size.
    pub distinct: u64,
    pub values: Values,
}

impl Column {
    fn new(name: &str, distinct: u64, values: Values) -> Self {
        let kind = match values {
            Values::Range(..) => Kind::Integer,
            Values::Money(..) => Kind::Decimal,
            Values::Words(_) | Values::Patterns(_) => Kind::Text,
            Values::Days => Kind::Date,
        };
        Self { name: name.to_owned(), kind, distinct, values }
    }

    pub fn integer(name: &str, distinct: u64, high: i64) -> Self {
        Self::new(name, distinct, Values::Range(0, high))
    }

    pub fn literal(&self, random: &mut StdRng) -> String {
        match &self.values {
            Values::Range(low, high) => random.random_range(*low..=*high).to_string(),
            Values::Money(low, high) => {
                format!("{}.{:02}", random.random_range(*low..=*high), random.random_range(0..100))
            }
            Values::Words(words) | Values::Patterns(words) => {
                format!("'{}'", words.choose(random).expect("there are words"))
            }
            Values::Days => {
                let (year, month) = (random.random_range(1992..=1998), random.random_range(1..=12));
                format!("date '{year}-{month:02}-{:02}'", random.random_range(1..=28))
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    /// What stands in `FROM`: the name, or a subquery in parentheses.
    pub from: String,
    pub rows: u64,
    /// Columns that are unique together.
    pub key: Vec<String>,
    pub columns: Vec<Column>,
}

impl Table {
    pub fn column(&self, name: &str) -> &Column {
        self.columns.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("{} has no column {name}", self.name))
    }
}

/// Column pairs, equal along a foreign key.
pub struct Relation {
    pub child: &'static str,
    pub parent: &'static str,
    pub columns: &'static [(&'static str, &'static str)],
}

pub const RELATIONS: [Relation; 11] = [
    Relation { child: "nation", parent: "region", columns: &[("n_regionkey", "r_regionkey")] },
    Relation { child: "supplier", parent: "nation", columns: &[("s_nationkey", "n_nationkey")] },
    Relation { child: "customer", parent: "nation", columns: &[("c_nationkey", "n_nationkey")] },
    Relation { child: "partsupp", parent: "part", columns: &[("ps_partkey", "p_partkey")] },
    Relation { child: "partsupp", parent: "supplier", columns: &[("ps_suppkey", "s_suppkey")] },
    Relation { child: "orders", parent: "customer", columns: &[("o_custkey", "c_custkey")] },
    Relation { child: "lineitem", parent: "orders", columns: &[("l_orderkey", "o_orderkey")] },
    Relation { child: "lineitem", parent: "part", columns: &[("l_partkey", "p_partkey")] },
    Relation { child: "lineitem", parent: "supplier", columns: &[("l_suppkey", "s_suppkey")] },
    Relation {
        child: "lineitem",
        parent: "partsupp",
        columns: &[("l_partkey", "ps_partkey"), ("l_suppkey", "ps_suppkey")],
    },
    Relation { child: "customer", parent: "supplier", columns: &[("c_nationkey", "s_nationkey")] },
];

const NATIONS: &[&str] =
    &["ALGERIA", "BRAZIL", "CANADA", "CHINA", "FRANCE", "GERMANY", "INDIA", "JAPAN", "KENYA", "PERU"];
const REGIONS: &[&str] = &["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
const SEGMENTS: &[&str] = &["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"];
const PRIORITIES: &[&str] = &["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const MODES: &[&str] = &["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"];
const BRANDS: &[&str] = &["Brand#11", "Brand#23", "Brand#34", "Brand#45", "Brand#52"];
const CONTAINERS: &[&str] = &["SM CASE", "MED BOX", "LG PACK", "JUMBO JAR", "WRAP BAG"];
const COMMENTS: &[&str] = &["%express%", "%a%e%", "the%", "%s.", "%packages%", "%quick_y%", "nothing has this"];
const NAMES: &[&str] = &["%green%", "a%", "%ed%", "%e", "forest%", "%blue%white%", "Supplier#0000000_1", "%#00000001%"];
const TYPES: &[&str] = &["PROMO%", "%BRASS", "%POLISHED%", "MEDIUM%", "%TIN"];

pub fn tpch() -> Vec<Table> {
    let table = |name: &str, rows, key: &[&str], columns: Vec<Column>| Table {
        name: name.to_owned(),
        from: name.to_owned(),
        rows,
        key: key.iter().map(|&column| column.to_owned()).collect(),
        columns,
    };
    let column = Column::new;
    vec![
        table(
            "region",
            5,
            &["r_regionkey"],
            vec![column("r_regionkey", 5, Values::Range(0, 4)), column("r_name", 5, Values::Words(REGIONS))],
        ),
        table(
            "nation",
            25,
            &["n_nationkey"],
            vec![
                column("n_nationkey", 25, Values::Range(0, 24)),
                column("n_name", 25, Values::Words(NATIONS)),
                column("n_regionkey", 5, Values::Range(0, 4)),
            ],
        ),
        table(
            "supplier",
            100,
            &["s_suppkey"],
            vec![
                column("s_suppkey", 100, Values::Range(1, 100)),
                column("s_name", 100, Values::Patterns(NAMES)),
                column("s_nationkey", 25, Values::Range(0, 24)),
                column("s_acctbal", 100, Values::Money(-900, 9999)),
                column("s_comment", 100, Values::Patterns(COMMENTS)),
            ],
        ),
        table(
            "customer",
            1500,
            &["c_custkey"],
            vec![
                column("c_custkey", 1500, Values::Range(1, 1500)),
                column("c_nationkey", 25, Values::Range(0, 24)),
                column("c_acctbal", 1500, Values::Money(-900, 9999)),
                column("c_mktsegment", 5, Values::Words(SEGMENTS)),
                column("c_comment", 1500, Values::Patterns(COMMENTS)),
            ],
        ),
        table(
            "part",
            2000,
            &["p_partkey"],
            vec![
                column("p_partkey", 2000, Values::Range(1, 2000)),
                column("p_name", 2000, Values::Patterns(NAMES)),
                column("p_brand", 25, Values::Words(BRANDS)),
                column("p_type", 150, Values::Patterns(TYPES)),
                column("p_size", 50, Values::Range(1, 50)),
                column("p_container", 40, Values::Words(CONTAINERS)),
                column("p_retailprice", 1500, Values::Money(900, 1900)),
            ],
        ),
        table(
            "partsupp",
            8000,
            &["ps_partkey", "ps_suppkey"],
            vec![
                column("ps_partkey", 2000, Values::Range(1, 2000)),
                column("ps_suppkey", 100, Values::Range(1, 100)),
                column("ps_availqty", 5000, Values::Range(1, 9999)),
                column("ps_supplycost", 7000, Values::Money(1, 999)),
            ],
        ),
        table(
            "orders",
            15_000,
            &["o_orderkey"],
            vec![
                column("o_orderkey", 15_000, Values::Range(1, 60_000)),
                column("o_custkey", 1000, Values::Range(1, 1500)),
                column("o_orderstatus", 3, Values::Words(&["F", "O", "P"])),
                column("o_totalprice", 15_000, Values::Money(900, 450_000)),
                column("o_orderdate", 2400, Values::Days),
                column("o_orderpriority", 5, Values::Words(PRIORITIES)),
                column("o_comment", 15_000, Values::Patterns(COMMENTS)),
            ],
        ),
        table(
            "lineitem",
            60_000,
            &["l_orderkey", "l_linenumber"],
            vec![
                column("l_orderkey", 15_000, Values::Range(1, 60_000)),
                column("l_linenumber", 7, Values::Range(1, 7)),
                column("l_partkey", 2000, Values::Range(1, 2000)),
                column("l_suppkey", 100, Values::Range(1, 100)),
                column("l_quantity", 50, Values::Money(1, 50)),
                column("l_extendedprice", 30_000, Values::Money(900, 100_000)),
                column("l_discount", 11, Values::Money(0, 0)),
                column("l_returnflag", 3, Values::Words(&["A", "N", "R"])),
                column("l_shipdate", 2500, Values::Days),
                column("l_receiptdate", 2500, Values::Days),
                column("l_shipmode", 7, Values::Words(MODES)),
            ],
        ),
    ]
}
